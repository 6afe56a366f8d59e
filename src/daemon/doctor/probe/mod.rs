//! Finding out the facts: everything that the doctor reads, asks and runs. Each probe is bounded in time, and what it
//! cannot find out is a fact too.

mod command;
mod files;
mod kernel;
mod outside;
mod ports;

pub(super) use ports::OURS;

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;

use super::facts::{Facts, Place};
use super::firewall::{Filter, read_nft, read_ufw};
use crate::config::settings::State;
use crate::config::{Config, Loaded};
use crate::daemon::web;
use crate::front::proxy::certificate::service::command::{Status, status};
use crate::media::net::addresses;
use crate::media::net::interfaces::interfaces;

/// How long an answer from outside is waited for, all questions together.
const OUTSIDE: Duration = Duration::from_secs(3);

/// Finds everything out; asks nobody outside unless `may_ask`.
pub(super) fn gather(loaded: &Loaded, may_ask: bool, cores: usize) -> anyhow::Result<Facts> {
    let config = &loaded.config;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("the probes cannot start")?;
    let outside = runtime.block_on(outside::ask(config, may_ask));
    // A look-up that does not end must not keep us.
    runtime.shutdown_background();
    let ports = ports::look(config, cores);
    let certificate = certificate(config);
    let nofile_of = ports.daemon.as_ref().map(|daemon| daemon.pid);
    Ok(Facts {
        place: place(config, &outside.names.here, outside.public, may_ask),
        names: outside.names,
        workers: ports.workers,
        needs: ports.needs,
        sockets: ports.sockets,
        is_root: rustix::process::geteuid().is_root(),
        files: files::look(loaded, ports.daemon.as_ref()),
        daemon: ports.daemon,
        clock: kernel::clock(outside.ahead_ms),
        kernel: kernel::look(nofile_of),
        disk: state_folder(config).and_then(kernel::disk),
        firewall: firewall(),
        has_certificate_file: certificate.as_ref().is_some_and(|it| it.file.exists()),
        certificate,
    })
}

fn state_folder(config: &Config) -> Option<&std::path::Path> {
    match &config.state {
        State::Folder(folder) => Some(folder),
        State::Temporary => None,
    }
}

/// As the daemon chooses its candidates at a start.
fn place(config: &Config, resolved: &[IpAddr], public: [Option<IpAddr>; 2], asked: bool) -> Place {
    let interfaces = interfaces().unwrap_or_default();
    let facts = addresses::Facts {
        external: &config.media.external,
        nodes: &config.media.nodes,
        domain_address: config.public.host.address(),
        resolved,
        interfaces: &interfaces,
        bind: &config.media.bind,
        dev: config.dev,
    };
    let outward = interfaces
        .iter()
        .filter(|interface| !interface.is_virtual())
        .map(|interface| interface.address)
        .filter(|address| !address.is_loopback() && !is_link_local(*address));
    Place {
        own: outward.collect(),
        told: addresses::candidates(&facts),
        public,
        was_asked: asked && !config.media.public_address_servers.is_empty(),
        has_v6_route: kernel::has_v6_route(),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Every firewall on this machine that drops what no rule accepts.
fn firewall() -> Result<Vec<Filter>, String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root may read its rules".to_owned());
    }
    // Its rules are in the kernel's tables, too, in more words than it takes to judge them.
    if let Ok(text) = command::output("ufw", &["status", "verbose"])
        && let Some(filter) = read_ufw(&text)
    {
        return Ok(vec![filter]);
    }
    let text = command::output("nft", &["--json", "list", "ruleset"])?;
    read_nft(&text).ok_or_else(|| "nft lists no rules".to_owned())
}

fn certificate(config: &Config) -> Option<Status> {
    let state = state_folder(config)?;
    let domain = config.public.host.to_string();
    Some(status(&web::certificate_source(config), state, &domain))
}
