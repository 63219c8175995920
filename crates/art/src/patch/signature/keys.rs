//! Keys and certificates.

use super::{Hash, SignatureError};
use der::{Decode as _, DecodePem as _, Encode as _};
use p256::ecdsa::signature::{SignatureEncoding as _, Signer as _, Verifier as _};
use rsa::pkcs1v15;
use rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Keys are not larger, so that whoever checks a signature is not kept busy.
const MOST_RSA_BITS: usize = 8192;
/// Smaller ones can be broken. AndFix's own samples have 1024.
const LEAST_RSA_BITS: usize = 1024;

/// A certificate, of which only the key counts: programs are signed by certificates that nobody vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate(pub(super) x509_cert::Certificate);

impl Certificate {
    /// From PEM or DER.
    pub fn read(bytes: &[u8]) -> Result<Self, SignatureError> {
        let certificate = match bytes.starts_with(b"-----") {
            true => x509_cert::Certificate::from_pem(bytes),
            false => x509_cert::Certificate::from_der(bytes),
        };
        certificate.map(Self).map_err(|_| SignatureError::Key("no X.509 certificate"))
    }

    /// The SHA-256 of its DER, in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let der = self.0.to_der().unwrap_or_default();
        Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether both are of one key.
    pub fn has_key_of(&self, other: &Self) -> bool {
        let key = |certificate: &Self| certificate.0.tbs_certificate.subject_public_key_info.to_der().ok();
        key(self).is_some() && key(self) == key(other)
    }

    /// Whether its key has made a signature of this message.
    pub(super) fn check(&self, hash: Hash, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let info = &self.0.tbs_certificate.subject_public_key_info;
        let der = info.to_der().map_err(|_| SignatureError::Malformed("a public key"))?;
        if let Ok(key) = rsa::RsaPublicKey::from_public_key_der(&der) {
            return check_rsa(key, hash, message, signature);
        }
        let key = p256::ecdsa::VerifyingKey::from_public_key_der(&der);
        let key =
            key.map_err(|_| SignatureError::Malformed("the key is neither of RSA nor of ECDSA on P-256"))?;
        if hash != Hash::Sha256 {
            return Err(SignatureError::Malformed("ECDSA on P-256 with another hash than SHA-256"));
        }
        let signature = p256::ecdsa::DerSignature::from_bytes(signature);
        let signature = signature.map_err(|_| SignatureError::Wrong)?;
        key.verify(message, &signature).map_err(|_| SignatureError::Wrong)
    }
}

fn check_rsa(
    key: rsa::RsaPublicKey,
    hash: Hash,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    use rsa::traits::PublicKeyParts as _;
    if !(LEAST_RSA_BITS..=MOST_RSA_BITS).contains(&(key.size() * 8)) {
        return Err(SignatureError::Malformed("an RSA key of less than 1024 or more than 8192 bits"));
    }
    let signature = pkcs1v15::Signature::try_from(signature).map_err(|_| SignatureError::Wrong)?;
    let checked = match hash {
        Hash::Sha1 => pkcs1v15::VerifyingKey::<Sha1>::new(key).verify(message, &signature),
        Hash::Sha256 => pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &signature),
        Hash::Sha384 => pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(message, &signature),
        Hash::Sha512 => pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &signature),
    };
    checked.map_err(|_| SignatureError::Wrong)
}

/// A private key with its certificate.
pub struct Key {
    private: Private,
    certificate: Certificate,
}

enum Private {
    Rsa(Box<pkcs1v15::SigningKey<Sha256>>),
    P256(Box<p256::ecdsa::SigningKey>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.certificate.fingerprint())
    }
}

impl Key {
    /// From a private key in PEM (PKCS #8; RSA, or ECDSA on P-256) and a certificate.
    pub fn read(private: &str, certificate: &[u8]) -> Result<Self, SignatureError> {
        let certificate = Certificate::read(certificate)?;
        let private = match rsa::RsaPrivateKey::from_pkcs8_pem(private) {
            Ok(key) => Private::Rsa(Box::new(pkcs1v15::SigningKey::new(key))),
            Err(_) => match p256::ecdsa::SigningKey::from_pkcs8_pem(private) {
                Ok(key) => Private::P256(Box::new(key)),
                Err(_) => {
                    let what = "no private key of RSA or of ECDSA on P-256, in PKCS #8 without a password";
                    return Err(SignatureError::Key(what));
                }
            },
        };
        let key = Self { private, certificate };
        // That both belong together shows where one checks what the other signs.
        let signature = key.sign(b"livepatch");
        let belongs = key.certificate.check(Hash::Sha256, b"livepatch", &signature);
        belongs.map_err(|_| SignatureError::Key("the certificate is not of this private key"))?;
        Ok(key)
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Of the file that has its signatures.
    pub(super) fn extension(&self) -> &'static str {
        match self.private {
            Private::Rsa(_) => "RSA",
            Private::P256(_) => "EC",
        }
    }

    /// A signature with SHA-256.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.private {
            Private::Rsa(key) => key.sign(message).to_vec(),
            Private::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
        }
    }
}
