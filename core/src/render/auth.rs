//! The action that asks tidegate whether a name and a password are right, in Lua, and the table
//! that remembers who was.
//!
//! Inputs: the static part. Outputs: a file of the generation, lines of the configuration. Not
//! here: the rules that use them (`annotations::auth`), who answers (the adapter).

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};

use crate::desired::Skeleton;
use crate::digest::Digest;

/// Socket on which tidegate answers, within the state folder.
pub const SOCKET: &str = "run/auth.sock";

/// Users that HAProxy remembers; beyond, those asked about longest ago are asked about again.
const REMEMBERED: u32 = 102_400;

/// How long one is remembered. What makes an entry wrong also makes it unreachable, as the list
/// is part of its key; so this only bounds the memory.
const REMEMBERED_FOR: &str = "12h";

/// The action. `@SOCKET@` is replaced. A request is `LIST:REALM:AUTHORIZATION`; the answer is one
/// word. The key is made from the system's randomness and is in the memory of this process only.
const SCRIPT: &str = r#"-- Written by tidegate. Changes by hand are overwritten.
local socket = "@SOCKET@"
local random = assert(io.open("/dev/urandom", "rb"))
local key = assert(random:read(32))
random:close()

core.register_action("tidegate-auth", { "http-req" }, function(txn)
  if txn:get_var("proc.tidegate_auth") == nil then
    txn:set_var("proc.tidegate_auth", txn.c:base64(key))
  end
  local connection = core.tcp()
  connection:settimeout(10)
  if not connection:connect("unix@" .. socket) then
    return
  end
  local answer = nil
  if connection:send(txn:get_var("txn.ap") .. "\n") then
    answer = connection:receive("*l")
  end
  connection:close()
  if answer == "yes" then
    txn:set_var("txn.av", "new")
  elseif answer == "no" then
    txn:set_var("txn.av", "no")
  end
end)
"#;

/// The file within a generation, if there is one: its name, which says what is in it, and that.
#[must_use]
pub fn file(skeleton: &Skeleton) -> Option<(String, String)> {
    let script = script(skeleton)?;
    Some((format!("auth-{}.lua", Digest::of(script.as_bytes()).short()), script))
}

/// The action, where this HAProxy has Lua.
fn script(skeleton: &Skeleton) -> Option<String> {
    if !skeleton.capabilities.lua {
        return None;
    }
    let mut socket = String::new();
    let path = format!("{}/{SOCKET}", skeleton.listen.state_dir);
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            socket.push(char::from(byte));
        } else {
            socket.push_str(&format!("\\{byte:03}"));
        }
    }
    Some(SCRIPT.replace("@SOCKET@", &socket))
}

/// Lines of `global`.
///
/// # Errors
/// Those of `out`.
pub fn global(skeleton: &Skeleton, dir: &str, out: &mut dyn Write) -> fmt::Result {
    let Some((file, _)) = file(skeleton) else { return Ok(()) };
    if skeleton.capabilities.lua_conversion {
        out.write_str("  tune.lua.bool-sample-conversion normal\n")?;
    }
    writeln!(out, "  lua-load {dir}/{file}")
}

/// The table of those who were right, by a hash with the key.
///
/// # Errors
/// Those of `out`.
pub fn table(skeleton: &Skeleton, out: &mut dyn Write) -> fmt::Result {
    if !skeleton.capabilities.lua {
        return Ok(());
    }
    out.write_str("backend tidegate-auth from tidegate-answers\n")?;
    writeln!(out, "  stick-table type binary len 32 size {REMEMBERED} expire {REMEMBERED_FOR}\n")
}
