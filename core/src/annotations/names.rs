//! Names that haproxytech's controller has for one thing besides the present one.

/// Old name, and the name under `haproxy.org/` that it stands for.
pub const OLD: &[(&str, &str)] = &[
    ("whitelist", "allow-list"),
    ("blacklist", "deny-list"),
    ("cookie-persistence-no-dynamic", "cookie-persistence"),
    ("servers-increment", "scale-server-slots"),
    ("server-slots", "scale-server-slots"),
];
