//! `tidegate render`: the files that HAProxy would load for a folder of manifests.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use tidegate_core::action::MapId;
use tidegate_core::desired::Image;
use tidegate_core::render::{self, FileContent, crt_list};

use super::args::SettingsArgs;
use super::offline::{Assumed, Offline};
use super::output::{self, End, Output};
use crate::vault::Vault;

/// `tidegate render`.
#[derive(Clone, Debug, Args)]
pub struct RenderArgs {
    /// Folder with Kubernetes manifests (YAML or JSON)
    #[arg(long, short = 'f', value_name = "DIR")]
    pub manifests: PathBuf,
    /// Write the files there instead of printing them; with --with-secrets, HAProxy accepts them
    /// (`haproxy -c -f DIR/haproxy.cfg`)
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Certificates with their private keys, in place of placeholders
    #[arg(long)]
    pub with_secrets: bool,
    #[command(flatten)]
    /// Which HAProxy to assume.
    pub assumed: Assumed,
    #[command(flatten)]
    /// Settings of the core.
    pub settings: SettingsArgs,
}

struct Rendered {
    name: String,
    content: Vec<u8>,
    secret: bool,
}

/// Prints or writes the files.
///
/// # Errors
/// When the folder cannot be read or the files cannot be written.
pub fn render(args: &RenderArgs, form: Output) -> anyhow::Result<End> {
    let RenderArgs { manifests, to, with_secrets, assumed, settings } = args;
    let settings = settings.settings()?;
    let dir = match to {
        Some(dir) => std::path::absolute(dir)?,
        None => Path::new(&*settings.listen.state_dir).join("gen-1"),
    };
    let mut offline = Offline::new(settings, assumed.capabilities()?);
    let events = offline.read(manifests)?;
    offline.settle(events);
    let image = offline.controller.desired().image();
    let files = files(image, &dir, &offline.vault, *with_secrets)?;
    if to.is_some() {
        for file in &files {
            write(&dir, file).with_context(|| format!("cannot write {}", file.name))?;
        }
    }
    let count = offline.controller.problems().count();
    match (form, to) {
        (Output::Text, Some(dir)) => {
            output::line(format_args!("{} files written to {}", files.len(), dir.display()));
        }
        (Output::Text, None) => {
            for file in &files {
                output::line(format_args!("==> {} <==", file.name));
                output::line(String::from_utf8_lossy(&file.content));
            }
        }
        (Output::Json, _) => {
            let files: serde_json::Map<String, serde_json::Value> = files
                .iter()
                .map(|f| (f.name.clone(), String::from_utf8_lossy(&f.content).into()))
                .collect();
            output::json(&serde_json::json!({ "files": files, "problems": count }));
        }
    }
    if form == Output::Text && count > 0 {
        eprintln!("{count} problems; `tidegate check` has them");
    }
    Ok(End::Fine)
}

fn files(
    image: &Image,
    dir: &Path,
    vault: &Vault,
    with_secrets: bool,
) -> anyhow::Result<Vec<Rendered>> {
    let dir = dir.to_str().context("the folder's name is not UTF-8")?;
    let mut files = Vec::new();
    let mut add = |name: &str, content: String| {
        files.push(Rendered { name: name.to_owned(), content: content.into(), secret: false });
    };
    let mut text = String::new();
    render::config(image, dir, &mut text)?;
    add("haproxy.cfg", text);
    for map in MapId::ALL {
        let mut text = String::new();
        render::map(image, map, &mut text)?;
        add(map.file(), text);
    }
    let mut text = String::new();
    render::crt_list(image, &mut text)?;
    add(crt_list::FILE, text);
    if let Some((name, script)) = render::auth::file(&image.skeleton) {
        add(&name, script);
    }
    for (name, content) in render::files(image) {
        let content = if with_secrets {
            bytes(vault, &content)?
        } else {
            format!("# {}; --with-secrets shows it\n", in_words(&content)).into_bytes()
        };
        files.push(Rendered { name: name.to_string(), content, secret: true });
    }
    Ok(files)
}

/// What a file holds, without telling it.
#[must_use]
pub fn in_words(content: &FileContent) -> String {
    match content {
        FileContent::Certificate(digest) | FileContent::DefaultCertificate(Some(digest)) => {
            format!("certificate chain and private key, {digest}")
        }
        FileContent::DefaultCertificate(None) => "self-signed certificate and its key".to_owned(),
        FileContent::Authority(digest) => format!("CA certificates, {digest}"),
    }
}

fn bytes(vault: &Vault, content: &FileContent) -> anyhow::Result<Vec<u8>> {
    let bytes = match content {
        FileContent::Certificate(digest) | FileContent::DefaultCertificate(Some(digest)) => {
            vault.certificate(digest)
        }
        FileContent::Authority(digest) => vault.authority(digest),
        FileContent::DefaultCertificate(None) => Some(vault.self_signed()?),
    };
    Ok(bytes.context("the bytes of a secret are missing")?.to_vec())
}

fn write(dir: &Path, file: &Rendered) -> anyhow::Result<()> {
    let path = dir.join(&file.name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mode = if file.secret { 0o600 } else { 0o644 };
    let mut options = fs::OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
    std::io::Write::write_all(&mut out, &file.content)?;
    Ok(())
}
