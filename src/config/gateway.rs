//! `ae-config/gateway.json`: who we are, where we listen, what we allow ourselves and others; it opens nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use crate::dicom::AeTitle;
use crate::document::{Fields, Node, Problems};
use crate::limits::{PDU_BYTES_MAX, PDU_BYTES_MIN, SETTING_COUNT_MAX, SETTING_MB_MAX, WAIT_S_MAX};
use crate::onnx::{Device, Devices};
use crate::pipeline::{Completeness, CompletenessOverride};

use super::tls::GatewayTls;
use super::ways_in::{DicomWeb, WatchedFolder, parse_folders};

/// The checked file.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// The titles that we answer to; at least one. The first is ours when we call.
    pub ae_titles: Vec<AeTitle>,
    pub bind: IpAddr,
    /// The port without TLS; there is one of both at least.
    pub port: Option<u16>,
    /// The port with TLS.
    pub tls: Option<GatewayTls>,
    /// The port where instances are taken over HTTP.
    pub dicomweb: Option<DicomWeb>,
    /// Folders whose files are taken.
    pub folders: Vec<WatchedFolder>,
    /// The folder of spool and ledger, absolute or relative to the configuration folder.
    pub storage_folder: PathBuf,
    /// Nothing more is received when less than this is free.
    pub free_floor_mb: u64,
    pub limits: Limits,
    pub complete: Completeness,
    /// The peer that is asked how many instances a series has, where the pipeline names none.
    pub complete_ask: Option<String>,
    pub worker: WorkerSettings,
    /// How long received images and results are kept after the last job of their series has ended.
    pub retention_days: f64,
    /// How long a series is kept of which something was committed to a peer, from the commitment on; `None` for ever:
    /// the peer may have deleted its own.
    pub committed_days: Option<f64>,
}

/// What a peer may take of us.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Associations at the same time, all peers together.
    pub associations: usize,
    /// Associations at the same time of one peer.
    pub associations_per_peer: usize,
    /// Longest PDU that we accept, offered in the association (PS3.8 D.1).
    pub pdu_bytes: u32,
    /// Largest data set.
    pub instance_mb: u64,
    /// Longest wait for the association request after the connection (ARTIM, PS3.8 9.1.5).
    pub request_timeout_s: f64,
    /// Longest silence in an association.
    pub idle_timeout_s: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            associations: 32,
            associations_per_peer: 8,
            pdu_bytes: 131_072,
            instance_mb: 1_024,
            request_timeout_s: 10.0,
            idle_timeout_s: 60.0,
        }
    }
}

/// What a job may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerSettings {
    /// Threads of the worker; 0 for one per processor.
    pub threads: usize,
    /// Resident memory at which the worker is killed.
    pub memory_limit_mb: u64,
    /// Time after which the worker is killed.
    pub time_limit_s: f64,
    /// How many workers one job may cost before it fails.
    pub runs_max: u32,
    /// Where networks run, and whether the processor may take the place of a device that is not there.
    pub devices: Devices,
}

impl Default for WorkerSettings {
    fn default() -> WorkerSettings {
        WorkerSettings {
            threads: 0,
            memory_limit_mb: 16_384,
            time_limit_s: 1_800.0,
            runs_max: 3,
            devices: Devices::CPU,
        }
    }
}

/// What `free_floor_mb` is when the file does not say: room for some series that are on their way.
const FREE_FLOOR_MB: u64 = 2_048;

/// What `retention.days` is when the file does not say.
const RETENTION_DAYS: f64 = 14.0;

impl Gateway {
    /// Parses the document. `None` when anything is wrong; everything that is, is in `problems`.
    pub fn parse(node: &Node, problems: &mut Problems) -> Option<Gateway> {
        let before = problems.count();
        let mut fields = node.object(problems)?;
        fields.optional("$schema").and_then(|schema| schema.text(problems));
        let ae_titles = fields.required("ae_titles", problems).and_then(|list| parse_titles(list, problems));
        let bind = fields.optional("bind").map(|bind| bind.parsed("an IP address, such as 0.0.0.0", problems));
        let port = fields.optional("port");
        let tls = fields.optional("tls");
        if port.is_none() && tls.is_none() {
            problems.add(node, "no \"port\" and no \"tls\"", "a port to listen at, without TLS, with it, or both");
        }
        let port = port.map(|port| parse_port(port, problems));
        let tls = tls.map(|tls| GatewayTls::parse(tls, problems));
        let web = fields.optional("dicomweb");
        let dicomweb = web.map(|web| DicomWeb::parse(web, problems));
        let storage = fields.required("storage", problems).and_then(|storage| parse_storage(storage, problems));
        let storage_path = storage.as_ref().map(|(folder, _)| folder.as_path());
        let folders = fields.optional("folders");
        let folders = folders.map(|node| parse_folders(node, ae_titles.as_deref(), storage_path, problems));
        let limits = fields.optional("limits").map_or(Some(Limits::default()), |node| parse_limits(node, problems));
        let complete = fields.optional("complete").map(|node| CompletenessOverride::parse(node, problems));
        let worker = fields.optional("worker");
        let worker = worker.map_or(Some(WorkerSettings::default()), |node| parse_worker(node, problems));
        let retention = fields.optional("retention");
        let retention = retention.map_or(Some((RETENTION_DAYS, None)), |node| parse_retention(node, problems));
        fields.finish(problems);
        if let (Some(Some(port)), Some(Some(tls))) = (port, &tls)
            && port == tls.port
        {
            problems.add(node, format!("port {port} with TLS and without"), "two ports");
        }
        if let (Some(node), Some(Some(web))) = (web, &dicomweb)
            && [port.flatten(), tls.as_ref().and_then(|tls| Some(tls.as_ref()?.port))].contains(&Some(web.port))
        {
            let found = format!("port {}, which is another port of ours", web.port);
            problems.add(node, found, "a port of its own");
        }
        if problems.count() > before {
            return None;
        }
        let (storage_folder, free_floor_mb) = storage?;
        let complete = complete.unwrap_or(Some(CompletenessOverride::default()))?;
        let (retention_days, committed_days) = retention?;
        Some(Gateway {
            ae_titles: ae_titles?,
            bind: bind.unwrap_or(Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))?,
            port: port.flatten(),
            tls: tls.flatten(),
            dicomweb: dicomweb.flatten(),
            folders: folders.flatten().unwrap_or_default(),
            storage_folder,
            free_floor_mb,
            limits: limits?,
            complete: complete.over(&Completeness::default()),
            complete_ask: complete.ask,
            worker: worker?,
            retention_days,
            committed_days,
        })
    }
}

/// A TCP port that can be called.
pub(super) fn parse_port(node: &Node, problems: &mut Problems) -> Option<u16> {
    node.integer(1, i64::from(u16::MAX), problems).and_then(|port| u16::try_from(port).ok())
}

fn parse_titles(node: &Node, problems: &mut Problems) -> Option<Vec<AeTitle>> {
    let items = node.array(problems)?;
    if items.is_empty() {
        problems.add(node, "an empty list", "at least one AE title");
    }
    let mut titles: Vec<AeTitle> = Vec::new();
    for item in items {
        let Some(title) = item.parsed::<AeTitle>("an AE title", problems) else { continue };
        if titles.contains(&title) {
            problems.add(item, format!("{:?} a second time", title.as_str()), "each title once");
        }
        titles.push(title);
    }
    Some(titles)
}

fn parse_storage(node: &Node, problems: &mut Problems) -> Option<(PathBuf, u64)> {
    let mut fields = node.object(problems)?;
    let folder = fields.required("folder", problems).and_then(|folder| {
        let text = folder.text(problems)?;
        if text.is_empty() || text.contains('\0') {
            problems.add(folder, folder.describe(), "a folder, absolute or relative to the configuration folder");
            return None;
        }
        Some(PathBuf::from(text))
    });
    let floor = whole(&mut fields, "free_floor_mb", (0, SETTING_MB_MAX), FREE_FLOOR_MB, problems);
    fields.finish(problems);
    Some((folder?, floor))
}

fn parse_limits(node: &Node, problems: &mut Problems) -> Option<Limits> {
    let standard = Limits::default();
    let mut fields = node.object(problems)?;
    let counts = (1, SETTING_COUNT_MAX);
    let associations = whole(&mut fields, "associations", counts, standard.associations as u64, problems) as usize;
    let of_one = standard.associations_per_peer.min(associations) as u64;
    let associations_per_peer = whole(&mut fields, "associations_per_peer", counts, of_one, problems) as usize;
    let pdu = (u64::from(PDU_BYTES_MIN), u64::from(PDU_BYTES_MAX));
    let pdu_bytes = whole(&mut fields, "pdu_bytes", pdu, u64::from(standard.pdu_bytes), problems);
    let instance_mb = whole(&mut fields, "instance_mb", (1, SETTING_MB_MAX), standard.instance_mb, problems);
    let request_timeout_s = seconds(&mut fields, "request_timeout_s", standard.request_timeout_s, problems);
    let idle_timeout_s = seconds(&mut fields, "idle_timeout_s", standard.idle_timeout_s, problems);
    fields.finish(problems);
    if associations_per_peer > associations {
        let found = format!("associations_per_peer {associations_per_peer} above associations {associations}");
        problems.add_with_cure(node, found, "no more for one peer than for all", "lower the first or raise the second");
    }
    let pdu_bytes = u32::try_from(pdu_bytes).unwrap_or(standard.pdu_bytes);
    Some(Limits { associations, associations_per_peer, pdu_bytes, instance_mb, request_timeout_s, idle_timeout_s })
}

fn parse_worker(node: &Node, problems: &mut Problems) -> Option<WorkerSettings> {
    let standard = WorkerSettings::default();
    let mut fields = node.object(problems)?;
    let threads = whole(&mut fields, "threads", (0, SETTING_COUNT_MAX), standard.threads as u64, problems) as usize;
    let memory = (256, SETTING_MB_MAX);
    let memory_limit_mb = whole(&mut fields, "memory_limit_mb", memory, standard.memory_limit_mb, problems);
    let time_limit_s = seconds(&mut fields, "time_limit_s", standard.time_limit_s, problems);
    let runs_max = whole(&mut fields, "runs_max", (1, 100), u64::from(standard.runs_max), problems);
    let wanted =
        fields.optional("device").map(|device| device.parsed("cpu, cuda, cuda:N, tensorrt or tensorrt:N", problems));
    let wanted = wanted.map_or(Some(Device::Cpu), |device| device);
    let cpu_instead = fields.optional("cpu_instead").and_then(|flag| flag.bool(problems)).unwrap_or(false);
    fields.finish(problems);
    let runs_max = u32::try_from(runs_max).unwrap_or(standard.runs_max);
    Some(WorkerSettings {
        threads,
        memory_limit_mb,
        time_limit_s,
        runs_max,
        devices: Devices { wanted: wanted?, cpu_instead },
    })
}

fn parse_retention(node: &Node, problems: &mut Problems) -> Option<(f64, Option<f64>)> {
    let mut fields = node.object(problems)?;
    let days = fields.required("days", problems).and_then(|days| days.number(0.0, 36_525.0, problems));
    let committed = fields.optional("committed_days").map(|days| days.number(0.0, 36_525.0, problems));
    fields.finish(problems);
    let committed = committed.map_or(Some(None), |days| days.map(Some));
    days.zip(committed)
}

/// An optional whole number between two bounds; the default when it is absent (or bad, which is a problem).
pub(super) fn whole<'a>(
    fields: &mut Fields<'a>,
    key: &'a str,
    (low, high): (u64, u64),
    default: u64,
    problems: &mut Problems,
) -> u64 {
    let bounds = (i64::try_from(low).unwrap_or(0), i64::try_from(high).unwrap_or(i64::MAX));
    let found = fields.optional(key).and_then(|node| node.integer(bounds.0, bounds.1, problems));
    found.and_then(|value| u64::try_from(value).ok()).unwrap_or(default)
}

/// An optional time above zero.
pub(super) fn seconds<'a>(fields: &mut Fields<'a>, key: &'a str, default: f64, problems: &mut Problems) -> f64 {
    fields.optional(key).and_then(|node| node.number(0.1, WAIT_S_MAX, problems)).unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{self, Problem};

    fn check(text: &str) -> Result<Gateway, Vec<String>> {
        let mut problems = Problems::of("gateway.json");
        let parsed = document::parse(text, &mut problems).and_then(|node| Gateway::parse(&node, &mut problems));
        parsed.ok_or_else(|| problems.into_vec().iter().map(Problem::to_string).collect())
    }

    #[test]
    fn fills_in_what_is_not_said() {
        let gateway = check(r#"{"ae_titles": ["A"], "port": 104, "storage": {"folder": "var"}}"#).expect("good");
        assert_eq!(gateway.bind.to_string(), "0.0.0.0");
        assert_eq!((gateway.limits, gateway.worker), (Limits::default(), WorkerSettings::default()));
        assert_eq!(gateway.complete, Completeness::default());
        let gateway = check(
            r#"{"ae_titles": ["A", "B"], "bind": "::1", "port": 104, "storage": {"folder": "/v", "free_floor_mb": 5},
                "limits": {"associations": 4}, "complete": {"quiet_s": 1}, "worker": {"runs_max": 1}, "retention": {"days": 0}}"#,
        )
        .expect("good");
        assert_eq!((gateway.bind.to_string().as_str(), gateway.free_floor_mb), ("::1", 5));
        assert_eq!((gateway.limits.associations, gateway.limits.associations_per_peer), (4, 4));
        assert_eq!((gateway.complete.quiet_s, gateway.worker.runs_max, gateway.retention_days), (1.0, 1, 0.0));
    }

    #[test]
    fn says_all_that_is_wrong() {
        let told = check(
            r#"{"ae_titles": ["A", "A", "B\\C"], "bind": "localhost", "port": 70000, "storage": {"folder": "", "floor": 1},
 "limits": {"associations": 2, "associations_per_peer": 3, "pdu_bytes": 1, "idle_timeout_s": 1e308},
 "worker": {"threads": -1, "runs_max": 0}, "retention": {}, "ports": 1}"#,
        )
        .expect_err("bad");
        let expected = [
            r#"gateway.json:1: ae_titles[1]: found "A" a second time, expected each title once"#,
            r#"gateway.json:1: ae_titles[2]: found the text "B\\C" (found an AE title with a backslash, a control or a non-ASCII character at index 1), expected an AE title"#,
            r#"gateway.json:1: bind: found the text "localhost" (invalid IP address syntax), expected an IP address, such as 0.0.0.0"#,
            "gateway.json:1: port: found the number 70000, expected a whole number from 1 to 65535",
            r#"gateway.json:1: storage.folder: found the text "", expected a folder, absolute or relative to the configuration folder"#,
            r#"gateway.json:1: storage.floor: found the unknown key "floor", expected only the keys folder, free_floor_mb"#,
            "gateway.json:2: limits.pdu_bytes: found the number 1, expected a whole number from 4096 to 1048576",
            "gateway.json:2: limits.idle_timeout_s: found the number 1e308, expected a number from 0.1 to 604800",
            "gateway.json:2: limits: found associations_per_peer 3 above associations 2, expected no more for one peer than for all; lower the first or raise the second",
            "gateway.json:3: worker.threads: found the number -1, expected a whole number from 0 to 65536",
            "gateway.json:3: worker.runs_max: found the number 0, expected a whole number from 1 to 100",
            r#"gateway.json:3: retention: found no "days", expected the key "days""#,
            r#"gateway.json:3: ports: found the unknown key "ports", expected only the keys $schema, ae_titles, bind, port, tls, dicomweb, storage, folders, limits, complete, worker, retention; did you mean "port"?"#,
        ];
        assert_eq!(told, expected);
    }
}
