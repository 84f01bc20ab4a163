//! A page of the object list of S3.
//!
//! `object_store` rejects the whole page if one key is not a valid path, and other programs create such keys. This module reads
//! all of them.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesRef, Event};

use super::Failure;

/// Keys as the bucket has them, also those that are not valid object names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) keys: Vec<String>,
    /// With which the next page is asked for, if there is one.
    pub(crate) next: Option<String>,
}

impl Page {
    /// Reads a `ListBucketResult`; one that was cut short is a failure.
    pub(crate) fn parse(xml: &str) -> Result<Page, Failure> {
        let broken = |why: &dyn std::fmt::Display| Failure::new(format!("read the list: {why}"));
        let mut reader = Reader::from_str(xml);
        let (mut page, mut text, mut is_whole) = (Page::default(), String::new(), false);
        loop {
            match reader.read_event().map_err(|error| broken(&error))? {
                Event::Start(_) => text.clear(),
                Event::Text(part) => text += &part.decode().map_err(|error| broken(&error))?,
                Event::CData(part) => text += &part.decode().map_err(|error| broken(&error))?,
                Event::GeneralRef(part) => {
                    text += &resolved(&part).ok_or_else(|| broken(&"an unknown reference"))?;
                }
                Event::End(tag) => match tag.local_name().as_ref() {
                    b"Key" => page.keys.push(std::mem::take(&mut text)),
                    b"NextContinuationToken" if !text.is_empty() => {
                        page.next = Some(std::mem::take(&mut text));
                    }
                    b"ListBucketResult" => is_whole = true,
                    _ => {}
                },
                Event::Eof if is_whole => return Ok(page),
                Event::Eof => return Err(broken(&"it is cut short")),
                _ => {}
            }
        }
    }
}

fn resolved(reference: &BytesRef<'_>) -> Option<String> {
    if let Some(letter) = reference.resolve_char_ref().ok()? {
        return Some(letter.into());
    }
    resolve_xml_entity(&reference.decode().ok()?).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_as_they_are() {
        let xml = "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\">\n <Prefix>Key</Prefix>\n \
                   <Contents><Key>a//b</Key><Size>1</Size></Contents>\n <Contents><Key>../x</Key></Contents>\
                   <Contents><Key> &amp;&#x41;&#66; &lt;é </Key><Owner><ID>1</ID></Owner></Contents>\
                   <Contents><Key>ndt/</Key></Contents>\
                   <NextContinuationToken>1&amp;2</NextContinuationToken></ListBucketResult>";
        assert_eq!(
            Page::parse(xml),
            Ok(Page {
                keys: ["a//b", "../x", " &AB <é ", "ndt/"]
                    .map(str::to_owned)
                    .into(),
                next: Some("1&2".to_owned()),
            })
        );
        for cut in [0, 10, 100, xml.len() - 25, xml.len() - 1] {
            assert!(Page::parse(&xml[..cut]).is_err(), "{}", &xml[..cut]);
        }
        assert!(Page::parse("<ListBucketResult><Key>&who;</Key></ListBucketResult>").is_err());
    }
}
