//! Signatures as PKCS #7 (RFC 5652, `SignedData`), of content that is elsewhere.

use super::keys::{Certificate, Key};
use super::{Hash, SignatureError, Strictness};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    CertificateSet, EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use der::asn1::{Any, ObjectIdentifier, OctetString, SetOfVec};
use der::{Decode as _, Encode as _};
use x509_cert::spki::AlgorithmIdentifierOwned;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

fn hash_of(algorithm: &AlgorithmIdentifierOwned) -> Result<Hash, SignatureError> {
    match algorithm.oid.to_string().as_str() {
        "1.3.14.3.2.26" => Ok(Hash::Sha1),
        "2.16.840.1.101.3.4.2.1" => Ok(Hash::Sha256),
        "2.16.840.1.101.3.4.2.2" => Ok(Hash::Sha384),
        "2.16.840.1.101.3.4.2.3" => Ok(Hash::Sha512),
        _ => Err(SignatureError::Malformed("a hash that is not known")),
    }
}

/// Whose signature of a content it is.
pub(super) fn verify(
    block: &[u8],
    content: &[u8],
    strictness: Strictness,
) -> Result<Certificate, SignatureError> {
    let malformed = |what| move |_| SignatureError::Malformed(what);
    let info = ContentInfo::from_der(block).map_err(malformed("no PKCS #7"))?;
    if info.content_type != SIGNED_DATA {
        return Err(SignatureError::Malformed("no SignedData"));
    }
    let signed: SignedData = info.content.decode_as().map_err(malformed("no SignedData"))?;
    let signers = signed.signer_infos.0.as_slice();
    let [signer] = signers else { return Err(SignatureError::Several) };
    let certificate = certificate_of(&signed, &signer.sid)?;
    let hash = hash_of(&signer.digest_alg)?;
    if hash.is_weak() && strictness == Strictness::Strict {
        return Err(SignatureError::Weak("the signature".to_owned()));
    }
    let signature = signer.signature.as_bytes();
    match &signer.signed_attrs {
        None => certificate.check(hash, content, signature)?,
        Some(attributes) => {
            // The attributes are signed, and say the content's digest (RFC 5652, 5.4).
            let value = |oid: ObjectIdentifier| {
                let mut found = attributes.iter().filter(|attribute| attribute.oid == oid);
                let only = found.next().filter(|attribute| attribute.values.len() == 1);
                only.filter(|_| found.next().is_none()).and_then(|attribute| attribute.values.get(0).cloned())
            };
            let digest = value(MESSAGE_DIGEST).and_then(|value| value.decode_as::<OctetString>().ok());
            let kind = value(CONTENT_TYPE).and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
            if digest.is_none_or(|digest| digest.as_bytes() != hash.of(content)) || kind != Some(DATA) {
                return Err(SignatureError::Wrong);
            }
            let message = attributes.to_der().map_err(malformed("signed attributes"))?;
            certificate.check(hash, &message, signature)?;
        }
    }
    Ok(certificate)
}

/// The certificate that a signer is identified by.
fn certificate_of(signed: &SignedData, signer: &SignerIdentifier) -> Result<Certificate, SignatureError> {
    let SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber { issuer, serial_number }) = signer
    else {
        return Err(SignatureError::Malformed("a signer without issuer and serial number"));
    };
    let all = signed.certificates.iter().flat_map(|certificates| certificates.0.iter());
    let mut plain = all.filter_map(|choice| match choice {
        CertificateChoices::Certificate(certificate) => Some(certificate),
        CertificateChoices::Other(_) => None,
    });
    let is_it = |certificate: &&x509_cert::Certificate| {
        let inner = &certificate.tbs_certificate;
        inner.issuer == *issuer && inner.serial_number == *serial_number
    };
    let found =
        plain.find(is_it).ok_or(SignatureError::Malformed("the signer's certificate is not there"))?;
    Ok(Certificate(found.clone()))
}

/// A signature of a content, with the certificate.
pub(super) fn sign(content: &[u8], key: &Key) -> Result<Vec<u8>, SignatureError> {
    let failed = |_| SignatureError::Malformed("it cannot be written");
    let certificate = &key.certificate().0;
    let null = || Some(Any::null());
    let digest = AlgorithmIdentifierOwned { oid: SHA256, parameters: null() };
    let algorithm = match key.extension() {
        "RSA" => AlgorithmIdentifierOwned { oid: RSA, parameters: null() },
        _ => AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None },
    };
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: certificate.tbs_certificate.issuer.clone(),
            serial_number: certificate.tbs_certificate.serial_number.clone(),
        }),
        digest_alg: digest.clone(),
        signed_attrs: None,
        signature_algorithm: algorithm,
        signature: OctetString::new(key.sign(content)).map_err(failed)?,
        unsigned_attrs: None,
    };
    let certificates = vec![CertificateChoices::Certificate(certificate.clone())];
    let signed = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::try_from(vec![digest]).map_err(failed)?,
        encap_content_info: EncapsulatedContentInfo { econtent_type: DATA, econtent: None },
        certificates: Some(CertificateSet(SetOfVec::try_from(certificates).map_err(failed)?)),
        crls: None,
        signer_infos: SignerInfos(SetOfVec::try_from(vec![signer]).map_err(failed)?),
    };
    let content = Any::encode_from(&signed).map_err(failed)?;
    ContentInfo { content_type: SIGNED_DATA, content }.to_der().map_err(failed)
}
