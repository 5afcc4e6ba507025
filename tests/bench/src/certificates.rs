//! A private chain like the one in front of an AWS endpoint (RSA-2048 leaf and intermediate), and the trust files of the contenders.
use std::{fs, path::Path, path::PathBuf, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::Outcome;

const SYSTEM_BUNDLES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

pub struct Trust {
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    /// Only the private root, for runtimes with their own roots.
    pub root: PathBuf,
    /// Every root of this machine and the private one, as a default client reads and parses them.
    pub system: PathBuf,
    /// The Amazon roots and the private one, as the product embeds them.
    pub product: PathBuf,
    pub system_roots: usize,
    pub product_roots: usize,
}

impl Trust {
    pub fn create(folder: &Path) -> Outcome<Self> {
        fs::create_dir_all(folder)?;
        let bundle =
            SYSTEM_BUNDLES.iter().find_map(|path| fs::read_to_string(path).ok()).ok_or("no system trust store: install ca-certificates")?;
        let system = pem_blocks(&bundle);
        let amazon: Vec<&String> = system.iter().filter(|block| is_amazon_root(block)).collect();

        let (root_parameters, root_key) = (authority("bench root"), rsa_key()?);
        let root = root_parameters.self_signed(&root_key)?;
        let root_issuer = Issuer::new(root_parameters, root_key);
        let (middle_parameters, middle_key) = (authority("bench intermediate"), rsa_key()?);
        let middle = middle_parameters.signed_by(&middle_key, &root_issuer)?;
        let middle_issuer = Issuer::new(middle_parameters, middle_key);
        let leaf_key = rsa_key()?;
        let mut leaf_parameters = CertificateParams::new(["localhost", "127.0.0.1", "127.0.0.2"].map(str::to_owned))?;
        leaf_parameters.distinguished_name.push(DnType::CommonName, "localhost");
        let leaf = leaf_parameters.signed_by(&leaf_key, &middle_issuer)?;

        let chain = vec![leaf.der().clone(), middle.der().clone()];
        let key = PrivatePkcs8KeyDer::from(leaf_key.serialize_der());

        let write = |name: &str, blocks: &[&String]| -> Outcome<PathBuf> {
            let mut text = blocks.iter().map(|block| block.as_str()).collect::<String>();
            text.push_str(&root.pem());
            let path = folder.join(name);
            fs::write(&path, text)?;
            Ok(path)
        };
        Ok(Self {
            chain,
            key,
            root: write("root.pem", &[])?,
            system: write("system.pem", &system.iter().collect::<Vec<_>>())?,
            product: write("product.pem", &amazon)?,
            system_roots: system.len() + 1,
            product_roots: amazon.len() + 1,
        })
    }
}

impl Trust {
    /// One endpoint's side of TLS. Each has its own sessions, so no client resumes a session of another service.
    pub fn acceptor(&self) -> Outcome<TlsAcceptor> {
        let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), PrivateKeyDer::from(self.key.clone_key()))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(server)))
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn rsa_key() -> Outcome<KeyPair> {
    Ok(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?)
}

fn pem_blocks(bundle: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let blocks = bundle.split_inclusive(END).filter(|block| block.ends_with(END));
    blocks.filter_map(|block| block.find("-----BEGIN").map(|start| block[start..].to_owned())).collect()
}

fn is_amazon_root(block: &str) -> bool {
    let text: String = block.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = BASE64_STANDARD.decode(text).unwrap_or_default();
    let names: [&[u8]; 2] = [b"Amazon Root CA ", b"Starfield Services Root Certificate Authority"];
    names.iter().any(|name| der.windows(name.len()).any(|bytes| bytes == *name))
}
