//! TensorBoard event files.
//!
//! A file is a row of TFRecords, each an `Event` message of TensorFlow's `event.proto`; the first says
//! `brain.Event:2`. Only what scalars and hyperparameters take is written, so the few fields of the messages are encoded by
//! hand. (The record format: `tensorflow/core/lib/io/record_writer.h`; hyperparameters: `plugin_data.proto` of TensorBoard's
//! plugin `hparams`.)

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{Config, Error};

const FILE_NAME: &str = "events.out.tfevents.";

/// Writes scalars and hyperparameters to an event file.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Writer {
    /// Starts a new file in a folder. If a run resumes there after step `resumed_at`, TensorBoard drops what earlier
    /// files say of later steps.
    ///
    /// # Errors
    /// [`Error::Io`] names the file.
    pub fn create(folder: &Path, resumed_at: Option<u64>) -> Result<Self, Error> {
        // TensorBoard reads the files of a folder in the order of their names, which a clock set back must not turn round.
        let latest = latest_time(folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let time = latest.map_or(now, |latest| now.max(latest.saturating_add(1)));
        let path = folder.join(format!("{FILE_NAME}{time:010}.sparsam.{}", std::process::id()));
        let file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(Error::at(&path))?;
        let mut writer = Self { file, path, buffer: Vec::new() };
        writer.event(0, |event| bytes_field(event, 3, b"brain.Event:2"));
        if let Some(step) = resumed_at {
            const START: u64 = 1;
            writer.event(step + 1, |event| {
                let mut session_log = Vec::new();
                varint_field(&mut session_log, 1, START);
                bytes_field(event, 7, &session_log);
            });
        }
        writer.flush()?;
        Ok(writer)
    }

    /// Notes a scalar at a step; [`flush`](Self::flush) writes it.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f64) {
        self.event(step, |event| {
            let mut scalar = Vec::new();
            bytes_field(&mut scalar, 1, tag.as_bytes());
            fixed32_field(&mut scalar, 2, (value as f32).to_bits());
            let mut summary = Vec::new();
            bytes_field(&mut summary, 1, &scalar);
            bytes_field(event, 5, &summary);
        });
    }

    /// Notes a run's configuration for the dashboard of hyperparameters, by the names of its fields: numbers, truths and
    /// texts. Files of a resumed run may note it again.
    ///
    /// # Errors
    /// As [`Config::fields`].
    pub fn hyperparameters(&mut self, config: &Config) -> Result<(), Error> {
        const SESSION_START: u64 = 3;
        let mut session = Vec::new();
        for (name, value) in config.fields()? {
            let mut told = Vec::new();
            match value {
                toml::Value::Integer(number) => fixed64_field(&mut told, 2, (number as f64).to_bits()),
                toml::Value::Float(number) => fixed64_field(&mut told, 2, number.to_bits()),
                toml::Value::Boolean(truth) => varint_field(&mut told, 4, truth.into()),
                toml::Value::String(text) => bytes_field(&mut told, 3, text.as_bytes()),
                other => bytes_field(&mut told, 3, other.to_string().as_bytes()),
            }
            let mut entry = Vec::new();
            bytes_field(&mut entry, 1, name.as_bytes());
            bytes_field(&mut entry, 2, &told);
            bytes_field(&mut session, 1, &entry);
        }
        fixed64_field(&mut session, 5, seconds_now().to_bits());
        self.session("_hparams_/session_start_info", SESSION_START, &session);
        Ok(())
    }

    /// Notes for the dashboard of hyperparameters that the run has ended well.
    pub fn end(&mut self) {
        const SESSION_END: u64 = 4;
        const SUCCESS: u64 = 1;
        let mut session = Vec::new();
        varint_field(&mut session, 1, SUCCESS);
        fixed64_field(&mut session, 2, seconds_now().to_bits());
        self.session("_hparams_/session_end_info", SESSION_END, &session);
    }

    /// A summary whose metadata is what counts; its tensor is a zero.
    fn session(&mut self, tag: &str, kind: u64, message: &[u8]) {
        let mut data = Vec::new();
        bytes_field(&mut data, kind, message);
        let mut plugin = Vec::new();
        bytes_field(&mut plugin, 1, b"hparams");
        bytes_field(&mut plugin, 2, &data);
        let mut metadata = Vec::new();
        bytes_field(&mut metadata, 1, &plugin);
        const FLOAT: u64 = 1;
        let mut tensor = Vec::new();
        varint_field(&mut tensor, 1, FLOAT);
        // Of one dimension, whose size is one.
        bytes_field(&mut tensor, 2, &[0x12, 2, 0x08, 1]);
        bytes_field(&mut tensor, 5, &0f32.to_le_bytes());
        self.event(0, |event| {
            let mut value = Vec::new();
            bytes_field(&mut value, 1, tag.as_bytes());
            bytes_field(&mut value, 8, &tensor);
            bytes_field(&mut value, 9, &metadata);
            let mut summary = Vec::new();
            bytes_field(&mut summary, 1, &value);
            bytes_field(event, 5, &summary);
        });
    }

    /// Writes what was noted.
    ///
    /// # Errors
    /// [`Error::Io`] names the file.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.file.write_all(&self.buffer).map_err(Error::at(&self.path))?;
        self.buffer.clear();
        Ok(())
    }

    /// Has the system put what was written on the disk.
    ///
    /// # Errors
    /// [`Error::Io`] names the file.
    pub fn sync(&self) -> Result<(), Error> {
        sparsam::internal::file::sync(&self.file, &self.path).map_err(Error::at(&self.path))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn event(&mut self, step: u64, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut event = Vec::new();
        fixed64_field(&mut event, 1, seconds_now().to_bits());
        varint_field(&mut event, 2, step);
        fill(&mut event);
        record(&mut self.buffer, &event);
    }
}

fn seconds_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The time in the name of the latest event file.
fn latest_time(folder: &Path) -> Result<Option<u64>, Error> {
    let mut latest = None;
    for entry in std::fs::read_dir(folder).map_err(Error::at(folder))? {
        let name = entry.map_err(Error::at(folder))?.file_name();
        let time = name.to_str().and_then(|name| name.strip_prefix(FILE_NAME)?.split('.').next()?.parse().ok());
        latest = latest.max(time);
    }
    Ok(latest)
}

/// Length, its checksum, the data, their checksum.
fn record(out: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked_checksum(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked_checksum(data).to_le_bytes());
}

/// A checksum of data that hold checksums themselves is weak; hence the mask.
fn masked_checksum(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn fixed64_field(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3 | 1);
    out.extend(value.to_le_bytes());
}

fn bytes_field(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn fixed32_field(out: &mut Vec<u8>, field: u64, value: u32) {
    varint(out, field << 3 | 5);
    out.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields of a message: number, and a whole number or bytes.
    #[derive(Clone, Debug, PartialEq)]
    enum Field {
        Number(u64, u64),
        Bytes(u64, Vec<u8>),
    }

    fn decode(mut message: &[u8]) -> Vec<Field> {
        fn take<'a>(message: &mut &'a [u8], length: usize) -> &'a [u8] {
            let (taken, rest) = message.split_at(length);
            *message = rest;
            taken
        }
        fn varint(message: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let byte = take(message, 1)[0];
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            value
        }
        let mut fields = Vec::new();
        while !message.is_empty() {
            let key = varint(&mut message);
            fields.push(match key & 7 {
                0 => Field::Number(key >> 3, varint(&mut message)),
                1 => Field::Number(key >> 3, u64::from_le_bytes(take(&mut message, 8).try_into().unwrap())),
                2 => {
                    let length = varint(&mut message) as usize;
                    Field::Bytes(key >> 3, take(&mut message, length).to_vec())
                }
                5 => Field::Number(key >> 3, u32::from_le_bytes(take(&mut message, 4).try_into().unwrap()).into()),
                kind => panic!("wire type {kind}"),
            });
        }
        fields
    }

    fn records(mut bytes: &[u8]) -> Vec<Vec<Field>> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            assert_eq!(bytes[8..12], masked_checksum(&bytes[..8]).to_le_bytes());
            let (data, rest) = bytes[12..].split_at(length);
            assert_eq!(rest[..4], masked_checksum(data).to_le_bytes());
            records.push(decode(data));
            bytes = &rest[4..];
        }
        records
    }

    #[test]
    fn checksums_are_those_of_the_format() {
        // RFC 3720, B.4: 32 bytes of zero.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        // The head of every event file's first record of 24 bytes, as TensorFlow writes it.
        assert_eq!(masked_checksum(&24u64.to_le_bytes()).to_le_bytes(), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn a_file_holds_its_version_the_start_and_the_scalars() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(folder.path(), Some(300)).unwrap();
        writer.scalar(1000, "loss/training", 0.5);
        writer.flush().unwrap();
        let records = records(&std::fs::read(writer.path()).unwrap());
        assert_eq!(records.len(), 3);
        assert!(matches!(records[0][0], Field::Number(1, time) if f64::from_bits(time) > 1e9));
        assert_eq!(records[0][1..], [Field::Number(2, 0), Field::Bytes(3, b"brain.Event:2".to_vec())]);
        assert_eq!(records[1][1..], [Field::Number(2, 301), Field::Bytes(7, vec![8, 1])]);
        assert_eq!(records[2][1], Field::Number(2, 1000));
        let Field::Bytes(5, summary) = &records[2][2] else { panic!("{:?}", records[2]) };
        let [Field::Bytes(1, scalar)] = &decode(summary)[..] else { panic!("{summary:?}") };
        let expected = [Field::Bytes(1, b"loss/training".to_vec()), Field::Number(2, 0.5f32.to_bits().into())];
        assert_eq!(decode(scalar), expected);
    }

    #[test]
    fn hyperparameters_are_the_fields_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(folder.path(), None).unwrap();
        let copy = crate::TaskConfig::by_name("copy").unwrap();
        let config = Config::default_for(copy, sparsam::Model::by_name("sam").unwrap());
        writer.hyperparameters(&config).unwrap();
        writer.end();
        writer.flush().unwrap();
        let records = records(&std::fs::read(writer.path()).unwrap());
        let bytes = |fields: &[Field], number: u64| -> Vec<u8> {
            let of = |field: &Field| match field {
                Field::Bytes(other, bytes) if *other == number => Some(bytes.clone()),
                _ => None,
            };
            fields.iter().find_map(of).unwrap()
        };
        // Of an event the summary, of it the value, of that the metadata, its plugin, and what that is told.
        let told = |record: &[Field]| {
            let value = decode(&bytes(&decode(&bytes(record, 5)), 1));
            let plugin = decode(&bytes(&decode(&bytes(&value, 9)), 1));
            assert_eq!(bytes(&plugin, 1), b"hparams");
            (String::from_utf8(bytes(&value, 1)).unwrap(), decode(&bytes(&plugin, 2)))
        };
        let (tag, start) = told(&records[1]);
        assert_eq!(tag, "_hparams_/session_start_info");
        let entries: Vec<Field> = decode(&bytes(&start, 3));
        let entry = |name: &str| {
            let of = |field: &Field| match field {
                Field::Bytes(1, entry) if bytes(&decode(entry), 1) == name.as_bytes() => {
                    Some(decode(&bytes(&decode(entry), 2)))
                }
                _ => None,
            };
            entries.iter().find_map(of).unwrap()
        };
        assert_eq!(entry("batch_size"), [Field::Number(2, (config.batch_size as f64).to_bits())]);
        assert_eq!(entry("network.memory.model"), [Field::Bytes(3, b"sam".to_vec())]);
        assert_eq!(entry("curriculum.on"), [Field::Number(4, 0)]);
        let (tag, end) = told(&records[2]);
        assert_eq!(tag, "_hparams_/session_end_info");
        assert_eq!(decode(&bytes(&end, 4))[0], Field::Number(1, 1));
    }

    #[test]
    fn later_files_come_later_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<_> = (0..3).map(|_| Writer::create(folder.path(), None).unwrap().path().to_owned()).collect();
        assert!(names.is_sorted() && names[0] != names[1] && names[1] != names[2], "{names:?}");
    }
}
