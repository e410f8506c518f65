//! The flags for a cluster: what is watched, what is believed, what is told.
//!
//! Inputs: flags and environment variables. Outputs: `Scope` and `Telling` of the settings.

use std::time::Duration;

use clap::Args;
use tidegate_core::settings::{Absence, Election, Publish, Reach, Scope, Settings, Telling};
use tidegate_core::world::object::{Address, Name};

use crate::cli::value;

/// What is watched and told in a cluster. Without meaning for a folder.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// Namespace that is watched; may be given several times [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "TIDEGATE_NAMESPACES")]
    pub namespace: Vec<String>,
    /// Serve only Ingresses of Namespaces with all these labels
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', alias = "namespace-labels",
          env = "TIDEGATE_NAMESPACE_SELECTOR", value_parser = value::label,
          conflicts_with = "namespace")]
    pub namespace_selector: Vec<(String, String)>,
    /// Do not read IngressClasses, which takes a right in the whole cluster: Ingresses are ours by
    /// the name of their class
    #[arg(long, env = "TIDEGATE_NO_INGRESS_CLASSES")]
    pub no_ingress_classes: bool,
    /// Do not read the custom resources of HAProxy Technologies' controller
    #[arg(long, env = "TIDEGATE_NO_CUSTOM_RESOURCES")]
    pub no_custom_resources: bool,
    /// Watch Nodes, also when neither --reach nor --publish-nodes needs them
    #[arg(long, env = "TIDEGATE_WATCH_NODES")]
    pub watch_nodes: bool,
    /// Per cent of the objects of a kind that may be absent from a new list and be taken for
    /// deleted at once; more are held
    #[arg(long, value_name = "PERCENT", env = "TIDEGATE_ABSENCE_PERCENT_MAX", default_value_t = 10,
          value_parser = clap::value_parser!(u8).range(0..=100))]
    pub absence_percent_max: u8,
    /// So many absent objects are taken for deleted whatever their share
    #[arg(long, value_name = "COUNT", env = "TIDEGATE_ABSENCE_COUNT_MAX", default_value_t = 10)]
    pub absence_count_max: u32,
    /// How long absent objects are held; 0s for until an operator says so
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_ABSENCE_HOLD",
          value_parser = value::duration, default_value = "10m")]
    pub absence_hold: Duration,
    /// Address or name for the status of our Ingresses; may be given several times
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', env = "TIDEGATE_PUBLISH_ADDRESS",
          value_parser = value::published, conflicts_with_all = ["publish_service", "publish_nodes"])]
    pub publish_address: Vec<Address>,
    /// Service whose addresses go into the status of our Ingresses
    #[arg(long, value_name = "NAMESPACE/NAME", env = "TIDEGATE_PUBLISH_SERVICE",
          value_parser = value::name, conflicts_with = "publish_nodes")]
    pub publish_service: Option<Name>,
    /// The addresses of the ready Nodes go into the status of our Ingresses
    #[arg(long, env = "TIDEGATE_PUBLISH_NODES")]
    pub publish_nodes: bool,
    /// Do not tell problems as Events of Kubernetes
    #[arg(long, env = "TIDEGATE_NO_EVENTS")]
    pub no_events: bool,
    /// Lease by which several replicas agree on who writes; without it this one does
    #[arg(long, value_name = "NAMESPACE/NAME", alias = "leader-election", env = "TIDEGATE_LEASE",
          value_parser = value::name)]
    pub lease: Option<Name>,
    /// Name of this replica in the Lease [default: the host name]
    #[arg(long, value_name = "TEXT", env = "TIDEGATE_IDENTITY", requires = "lease")]
    pub identity: Option<String>,
    /// A Lease that is not renewed for so long is free
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "15s")]
    pub lease_duration: Duration,
    /// A replica that could not renew for so long stops writing; less than the duration
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "10s")]
    pub lease_renew: Duration,
    /// Time between tries to renew or to get the Lease
    #[arg(long, value_name = "DURATION", value_parser = value::duration, default_value = "2s")]
    pub lease_retry: Duration,
}

impl ClusterArgs {
    /// Makes the settings of a folder those of a cluster.
    ///
    /// # Errors
    /// When the times of the Lease contradict each other, or the host has no name.
    pub fn apply(self, settings: &mut Settings) -> anyhow::Result<()> {
        let ClusterArgs {
            namespace,
            namespace_selector,
            no_ingress_classes,
            no_custom_resources,
            watch_nodes,
            absence_percent_max,
            absence_count_max,
            absence_hold,
            publish_address,
            publish_service,
            publish_nodes,
            no_events,
            lease,
            identity,
            lease_duration,
            lease_renew,
            lease_retry,
        } = self;
        let publish = if publish_nodes {
            Publish::Nodes
        } else if let Some(service) = publish_service {
            Publish::Service(service)
        } else if publish_address.is_empty() {
            Publish::Nothing
        } else {
            Publish::Addresses(publish_address)
        };
        let mut namespaces: Vec<Box<str>> = namespace.into_iter().map(Into::into).collect();
        namespaces.sort();
        namespaces.dedup();
        let mut labels: Vec<(Box<str>, Box<str>)> =
            namespace_selector.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        labels.sort();
        settings.scope = Scope {
            namespaces,
            namespace_labels: labels,
            ingress_classes: !no_ingress_classes,
            nodes: watch_nodes || publish_nodes || settings.reach == Reach::NodePorts,
            custom_resources: !no_custom_resources,
            secrets_on_demand: true,
            absence: Absence {
                percent_max: absence_percent_max,
                count_max: absence_count_max,
                hold_ms: ms(absence_hold),
            },
        };
        let election = lease.map(|lease| -> anyhow::Result<Election> {
            anyhow::ensure!(
                lease_renew < lease_duration && lease_retry < lease_renew,
                "--lease-retry must be less than --lease-renew, and that less than --lease-duration"
            );
            let identity = match identity {
                Some(identity) => identity,
                None => crate::cli::places::host_name()?,
            };
            Ok(Election {
                identity: identity.into(),
                lease,
                duration_ms: ms(lease_duration),
                renew_ms: ms(lease_renew),
                retry_ms: ms(lease_retry),
            })
        });
        let election = election.transpose()?;
        settings.telling = Some(Telling { publish, events: !no_events, election });
        Ok(())
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        cluster: ClusterArgs,
    }

    fn settings(flags: &[&str]) -> anyhow::Result<Settings> {
        let only = Only::try_parse_from(["tidegate"].iter().chain(flags))?;
        let mut settings = Settings::documented("/s");
        only.cluster.apply(&mut settings)?;
        Ok(settings)
    }

    #[test]
    fn defaults_watch_everything_and_believe_what_a_folder_believes() {
        let settings = settings(&[]).unwrap();
        let wanted = Scope { nodes: false, secrets_on_demand: true, ..Scope::folder() };
        assert_eq!(settings.scope, wanted);
        let telling = Telling { publish: Publish::Nothing, events: true, election: None };
        assert_eq!(settings.telling, Some(telling));
    }

    #[test]
    fn values_are_taken_and_contradictions_refused() {
        let flags = ["--namespace", "b,a,a", "--publish-address", "192.0.2.1,lb.example.com"];
        let lease = ["--lease", "n/l", "--identity", "me", "--absence-hold", "0s"];
        let settings_of = settings(&[&flags[..], &lease[..]].concat()).unwrap();
        assert_eq!(settings_of.scope.namespaces, ["a".into(), "b".into()]);
        assert_eq!(settings_of.scope.absence.hold_ms, 0);
        let telling = settings_of.telling.unwrap();
        let addresses =
            vec![Address::Ip([192, 0, 2, 1].into()), Address::Host("lb.example.com".into())];
        assert_eq!(telling.publish, Publish::Addresses(addresses));
        assert_eq!(&*telling.election.unwrap().identity, "me");
        assert!(settings(&["--publish-nodes", "--publish-address", "192.0.2.1"]).is_err());
        assert!(settings(&["--namespace", "a", "--namespace-selector", "a=b"]).is_err());
        let times = ["--lease", "n/l", "--identity", "me", "--lease-renew", "20s"];
        assert!(settings(&times).is_err());
    }
}
