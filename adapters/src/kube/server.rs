//! Which API server, and as whom: kubeconfig, in-cluster files, or a configuration that is given.
//!
//! Inputs: options. Outputs: kube's [`Config`]. Read anew when the server no longer takes what we
//! have: certificates and tokens rotate. Token files are also read anew by kube's own layer.

use std::path::PathBuf;

use anyhow::Context as _;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Where the API server and its credentials are described.
#[derive(Clone, Debug)]
pub enum Server {
    /// A kubeconfig file, and the context in it; `None` for the file's current one.
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// The context.
        context: Option<String>,
    },
    /// The files and variables that a pod gets.
    InCluster,
    /// Given in full, and never read anew.
    Given(Box<Config>),
}

impl Server {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When it is missing or cannot be used; never with a secret in the text.
    pub async fn config(&self) -> anyhow::Result<Config> {
        let config = match self {
            Server::Kubeconfig { file, context } => {
                let options = KubeConfigOptions { context: context.clone(), ..Default::default() };
                let read = Kubeconfig::read_from(file)
                    .with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
                Config::from_custom_kubeconfig(read, &options)
                    .await
                    .with_context(|| format!("cannot use the kubeconfig {}", file.display()))?
            }
            Server::InCluster => {
                Config::incluster().context("not in a pod with a service account")?
            }
            Server::Given(config) => return Ok((**config).clone()),
        };
        anyhow::ensure!(config.proxy_url.is_none(), "a proxy to the API server is not supported");
        Ok(config)
    }
}
