//! HAProxy's processes through `tokio::process` and signals.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, kill_process, prlimit};
use tokio::process::Command;

use crate::ports::{BoxFuture, Processes, Signal, Start};

/// HAProxy lifts its own limit no further than this (`DEFAULT_MAXFD` of its build).
const DESCRIPTORS_MAX: u64 = 1_048_576;
/// Longest time `haproxy -c` may take: 50,000 backends with certificates take a tenth of it.
const VALIDATE_MAX: Duration = Duration::from_secs(120);
/// Longest time that HAProxy may look at a snippet: it takes some 30 ms.
const JUDGE_MAX: Duration = Duration::from_secs(5);
/// What it may use meanwhile: seconds of a processor, bytes of memory, bytes of a file.
const JUDGE_LIMITS: [(Resource, u64); 3] =
    [(Resource::Cpu, 5), (Resource::As, 2 << 30), (Resource::Fsize, 0)];

/// The machine's processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsProcesses;

impl Processes for OsProcesses {
    fn version<'a>(&'a self, binary: &'a Path) -> BoxFuture<'a, io::Result<String>> {
        Box::pin(async move {
            let mut command = Command::new(binary);
            command.arg("-vv").stdin(Stdio::null()).kill_on_drop(true);
            let output = bounded(Duration::from_secs(10), command.output()).await?;
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        })
    }

    fn validate<'a>(
        &'a self,
        binary: &'a Path,
        config: &'a Path,
    ) -> BoxFuture<'a, io::Result<Result<(), String>>> {
        Box::pin(async move {
            let mut command = Command::new(binary);
            command.arg("-c").arg("-f").arg(config).stdin(Stdio::null()).kill_on_drop(true);
            Ok(verdict(&bounded(VALIDATE_MAX, command.output()).await?))
        })
    }

    fn judge<'a>(
        &'a self,
        binary: &'a Path,
        config: &'a Path,
    ) -> BoxFuture<'a, io::Result<Result<(), String>>> {
        Box::pin(async move {
            let mut command = Command::new(binary);
            command.arg("-c").arg("-f").arg(config).env_clear().kill_on_drop(true);
            command.current_dir(config.parent().unwrap_or(Path::new("/")));
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = command.spawn()?;
            if let Some(pid) = child.id().and_then(pid_of) {
                for (resource, most) in JUDGE_LIMITS {
                    let limit = Rlimit { current: Some(most), maximum: Some(most) };
                    // It may have ended already.
                    let _ = prlimit(Some(pid), resource, limit);
                }
            }
            match bounded(JUDGE_MAX, child.wait_with_output()).await {
                Ok(output) => Ok(verdict(&output)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let seconds = JUDGE_MAX.as_secs();
                    Ok(Err(format!("HAProxy was not done with it after {seconds} seconds")))
                }
                Err(error) => Err(error),
            }
        })
    }

    fn start<'a>(&'a self, start: &'a Start) -> BoxFuture<'a, io::Result<u32>> {
        Box::pin(async move {
            let log = OpenOptions::new().append(true).create(true).open(&start.log)?;
            let mut command = Command::new(&start.binary);
            // Up to 3.0 a master stays in the folder of files it refused. Once that folder is gone it
            // refuses everything, unless it is told where to go first (manual, "-C").
            command.arg("-C").arg("/").arg("-W").arg("-f").arg(&start.config);
            command.arg("-S").arg(&start.master_socket);
            command.stdin(Stdio::null()).stderr(log.try_clone()?);
            if start.inherit_stdout {
                command.stdout(Stdio::inherit());
            } else {
                command.stdout(log);
            }
            // Its own process group: signals meant for us (Ctrl-C in a terminal) pass it by.
            command.process_group(0);
            let mut child = command.spawn()?;
            let pid = child.id().ok_or_else(|| io::Error::other("the process ended at once"))?;
            tokio::spawn(async move {
                // Reaps the process; whoever wants to know asks `alive`.
                let _ = child.wait().await;
            });
            Ok(pid)
        })
    }

    fn alive(&self, pid: u32) -> bool {
        // A process that ended but was not reaped yet (state Z) is not alive.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    }

    fn signal(&self, pid: u32, signal: Signal) -> io::Result<()> {
        let pid = pid_of(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let signal = match signal {
            Signal::SoftStop => rustix::process::Signal::USR1,
            Signal::Stop => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        Ok(kill_process(pid, signal)?)
    }

    fn descriptors(&self, pid: Option<u32>) -> u64 {
        let hard = match pid {
            None => getrlimit(Resource::Nofile).maximum,
            Some(pid) => match std::fs::read_to_string(format!("/proc/{pid}/limits")) {
                Ok(limits) => hard_limit(&limits),
                Err(_) => return 0,
            },
        };
        hard.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX)
    }

    fn memory(&self, pid: Option<u32>) -> u64 {
        let owner = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let machine = std::fs::read_to_string("/proc/meminfo").ok();
        let machine = machine.as_deref().and_then(total_memory);
        let group = std::fs::read_to_string(format!("/proc/{owner}/cgroup")).unwrap_or_default();
        let limits = group_folders(&group).filter_map(|folder| {
            std::fs::read_to_string(format!("{folder}/memory.max")).ok()?.trim().parse().ok()
        });
        limits.chain(machine).min().unwrap_or(0)
    }
}

/// The bytes in the first line of `/proc/meminfo`.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The folders that may limit a process, from the text of `/proc/PID/cgroup` (version 2): its group
/// and all groups around it. In a container the group's own path is the root.
fn group_folders(cgroup: &str) -> impl Iterator<Item = String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let path = std::path::Path::new(path).to_owned();
    let ancestors: Vec<_> = path.ancestors().map(std::path::Path::to_owned).collect();
    ancestors.into_iter().map(|path| format!("/sys/fs/cgroup{}", path.display()))
}

/// The hard limit in the text of `/proc/PID/limits`; `None` for unlimited.
fn hard_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// Accepted, or HAProxy's words.
fn verdict(output: &std::process::Output) -> Result<(), String> {
    if output.status.success() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    if text.trim().is_empty() {
        text = format!("haproxy -c ended with {}", output.status);
    }
    Err(text)
}

async fn bounded<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn limits_of_memory_are_read_from_the_kernels_texts() {
        let meminfo = "MemTotal:       24576000 kB\nMemFree: 1 kB\n";
        assert_eq!(super::total_memory(meminfo), Some(24_576_000 * 1024));
        assert_eq!(super::total_memory("nonsense"), None);
        let folders: Vec<_> = super::group_folders("0::/a.slice/b.scope\n").collect();
        let expected = ["/a.slice/b.scope", "/a.slice", "/"].map(|p| format!("/sys/fs/cgroup{p}"));
        assert_eq!(folders, expected);
    }

    use super::*;

    #[test]
    fn reads_the_hard_limit() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax open files    1024   20000   files\n";
        assert_eq!(hard_limit(text), Some(20_000));
        assert_eq!(hard_limit("Max open files   unlimited  unlimited  files\n"), None);
    }

    #[test]
    fn this_process_is_alive_and_an_impossible_one_is_not() {
        assert!(OsProcesses.alive(std::process::id()));
        assert!(!OsProcesses.alive(u32::MAX - 1));
    }
}
