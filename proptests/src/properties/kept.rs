//! A file that is copied from the one before, but for what changed, says what writing all of it says.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use tidegate_core::action::MapId;
use tidegate_core::desired::Image;
use tidegate_core::render::kept::{Layout, Out};
use tidegate_core::render::{self, image_digest, image_digest_after};

use crate::run::Verdict;

/// The folder of every generation; that it is another one each time is the adapter's to try.
const FOLDER: &str = "/state/gen-1";

/// The text files of the last generation.
#[derive(Debug, Default)]
pub struct Pages {
    layout: Layout,
    texts: BTreeMap<&'static str, String>,
}

impl Pages {
    /// Writes the next generation after the last one.
    ///
    /// # Errors
    /// What differs from writing all of it.
    pub fn follow(&mut self, image: &Image) -> Verdict {
        let mut whole = String::new();
        let layout = &mut self.layout;
        let mut page = Page::after(self.texts.remove("haproxy.cfg"));
        render::config(image, FOLDER, &mut whole).map_err(|e| e.to_string())?;
        render::config_after(layout, image, FOLDER, &mut page).map_err(|e| e.to_string())?;
        same("haproxy.cfg", &page.text, &whole)?;
        self.texts.insert("haproxy.cfg", page.text);
        for id in MapId::ALL {
            let mut page = Page::after(self.texts.remove(id.file()));
            whole.clear();
            render::map(image, id, &mut whole).map_err(|e| e.to_string())?;
            render::map_after(layout, image, id, &mut page).map_err(|e| e.to_string())?;
            same(id.file(), &page.text, &whole)?;
            self.texts.insert(id.file(), page.text);
        }
        match image_digest_after(layout, image) == image_digest(image) {
            true => Ok(()),
            false => Err("the digest with what was remembered is another one".to_owned()),
        }
    }
}

fn same(file: &str, copied: &str, whole: &str) -> Verdict {
    match copied == whole {
        true => Ok(()),
        false => Err(format!("{file} copied:\n{copied}\nand whole:\n{whole}")),
    }
}

struct Page {
    before: String,
    text: String,
}

impl Page {
    fn after(before: Option<String>) -> Page {
        Page { before: before.unwrap_or_default(), text: String::new() }
    }
}

impl Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        Ok(())
    }
}

impl Out for Page {
    fn written(&self) -> u64 {
        self.text.len() as u64
    }

    fn copy(&mut self, from: u64, bytes: u64) -> fmt::Result {
        let (Ok(from), Ok(bytes)) = (usize::try_from(from), usize::try_from(bytes)) else {
            return Err(fmt::Error);
        };
        self.text.push_str(self.before.get(from..from + bytes).ok_or(fmt::Error)?);
        Ok(())
    }
}
