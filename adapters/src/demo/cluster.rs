//! What a cluster does for a folder of manifests: certificates, EndpointSlices for the pods that
//! run, files that appear at once.
//!
//! The samples themselves are the files in `deploy/demo`, compiled in.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;

use super::pods::Pod;

/// The samples.
pub const CLASS: &str = include_str!("../../../deploy/demo/manifests/class.yaml");
/// A shop with pages and an API.
pub const SHOP: &str = include_str!("../../../deploy/demo/manifests/shop.yaml");
/// A new application.
pub const BLOG: &str = include_str!("../../../deploy/demo/changes/blog.yaml");
/// A file that is not YAML.
pub const BROKEN: &str = include_str!("../../../deploy/demo/changes/broken.yaml");
/// A mistyped annotation.
pub const MISTYPED: &str = include_str!("../../../deploy/demo/changes/mistyped.yaml");

/// A folder of manifests.
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// Creates it.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn create(dir: PathBuf) -> anyhow::Result<Folder> {
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Folder { dir })
    }

    /// Puts a file in place at once. Returns the moment at which it was there.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn put(&self, name: &str, text: &str) -> anyhow::Result<Instant> {
        let hidden = self.dir.join(format!(".{name}.new"));
        fs::write(&hidden, text)?;
        // A disk that others keep busy may take a while.
        fs::rename(hidden, self.dir.join(name))?;
        Ok(Instant::now())
    }

    /// Removes a file. Returns the moment at which it was gone.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn remove(&self, name: &str) -> anyhow::Result<Instant> {
        fs::remove_file(self.dir.join(name))?;
        Ok(Instant::now())
    }

    /// Writes the EndpointSlice of a Service.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn put_endpoints(&self, app: &str, pods: &[Pod]) -> anyhow::Result<Instant> {
        self.put(&format!("{app}-endpoints.yaml"), &endpoint_slice(app, pods))
    }
}

/// The EndpointSlice of a Service, as Kubernetes keeps it.
#[must_use]
pub fn endpoint_slice(app: &str, pods: &[Pod]) -> String {
    let port = pods.first().map_or(80, |pod| pod.address.port());
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {app}-1\n  \
         namespace: demo\n  labels:\n    kubernetes.io/service-name: {app}\naddressType: IPv4\n\
         ports:\n  - name: http\n    port: {port}\nendpoints:"
    );
    if pods.is_empty() {
        text.push_str(" []");
    }
    for pod in pods {
        text.push_str(&format!(
            "\n  - addresses: [{}]\n    conditions:\n      ready: true",
            pod.address.ip()
        ));
    }
    text.push('\n');
    text
}

/// A certificate authority that only the demo trusts.
pub struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Issued {
    /// The leaf, as clients see it.
    pub der: Vec<u8>,
    /// The Secret that holds it.
    pub secret: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn new() -> anyhow::Result<Authority> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Authority { certificate, issuer: Issuer::new(params, key) })
    }

    /// A certificate for a host, in a Secret.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn issue(&self, host: &str, secret: &str) -> anyhow::Result<Issued> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![host.to_owned()])?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
        let (chain, private) = (encode(certificate.pem()), encode(key.serialize_pem()));
        let secret = format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {secret}\n  namespace: demo\n\
             type: kubernetes.io/tls\ndata:\n  tls.crt: {chain}\n  tls.key: {private}\n"
        );
        Ok(Issued { der: certificate.der().to_vec(), secret })
    }

    /// A client that trusts this authority alone.
    ///
    /// # Errors
    /// When the authority's certificate cannot be used.
    pub fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions()?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}
