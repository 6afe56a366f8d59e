//! The part of YAML that compose files are written in: block mappings and lists, flow lists, quotes, comments.
//!
//! A reader of its own, because of what it need not do: anchors, tags, references and several documents have no place
//! in OpenVidu's files, and a general parser would expand the first of them without bound. What it does not understand
//! is left out and its line told, so that the operator looks there.

/// The largest file that is read; the stock one has 6 KiB.
pub const MAX_SIZE: usize = 256 * 1024;
/// The deepest nesting: a service's port in its long form is five.
const MAX_DEPTH: usize = 16;

/// What a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// Its mapping.
    pub root: Node,
    /// Lines, from 1, that are not understood; what hangs on them is left out.
    pub unread: Vec<usize>,
}

/// A value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Node {
    /// Nothing, or something that is not understood.
    #[default]
    Nothing,
    /// A text without its quotes.
    Scalar(String),
    /// A list with the line of each element.
    List(Vec<(usize, Node)>),
    /// A mapping with the line of each key, in the order of the file.
    Map(Vec<(usize, String, Node)>),
}

impl Node {
    /// What `key` of a mapping has.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()
            .find_map(|(_, name, value)| (name == key).then_some(value))
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar(text) => Some(text),
            Self::Nothing | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The entries of a mapping: line, key, value.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &str, &Self)> {
        let entries = match self {
            Self::Map(entries) => entries.as_slice(),
            Self::Nothing | Self::Scalar(_) | Self::List(_) => &[],
        };
        entries
            .iter()
            .map(|(line, key, value)| (*line, key.as_str(), value))
    }

    /// The elements of a list with their lines.
    pub fn elements(&self) -> impl Iterator<Item = (usize, &Self)> {
        let elements = match self {
            Self::List(elements) => elements.as_slice(),
            Self::Nothing | Self::Scalar(_) | Self::Map(_) => &[],
        };
        elements.iter().map(|(line, element)| (*line, element))
    }
}

/// Why a file is not read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// It is larger than [`MAX_SIZE`].
    #[error("the file is larger than 256 KiB")]
    TooLarge,
    /// Its bytes are not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
}

/// Reads a file.
///
/// # Errors
/// It is too large or no text.
pub fn parse(bytes: &[u8]) -> Result<Document, NotRead> {
    if bytes.len() > MAX_SIZE {
        return Err(NotRead::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NotRead::NotUtf8)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        lines: Vec::new(),
        next: 0,
        unread: Vec::new(),
    };
    for (index, line) in text.lines().enumerate() {
        reader.take_line(index + 1, line);
    }
    let root = match reader.lines.first() {
        Some(first) => reader.block(first.indent, 0),
        None => Node::Nothing,
    };
    // What is indented less than the first line belongs to nothing.
    let left = reader.lines.get(reader.next..).unwrap_or_default();
    reader.unread.extend(left.iter().map(|line| line.number));
    reader.unread.sort_unstable();
    reader.unread.dedup();
    Ok(Document {
        root,
        unread: reader.unread,
    })
}

/// A line that says something.
#[derive(Debug, Clone)]
struct Line<'a> {
    number: usize,
    indent: usize,
    /// Without indentation and comment.
    text: &'a str,
}

struct Reader<'a> {
    lines: Vec<Line<'a>>,
    next: usize,
    unread: Vec<usize>,
}

impl<'a> Reader<'a> {
    fn take_line(&mut self, number: usize, line: &'a str) {
        let content = line.trim_start_matches(' ');
        let text = without_comment(content).trim_end();
        if text.is_empty() || text == "---" || text == "..." || text.starts_with('%') {
            return;
        }
        if text.starts_with('\t') {
            // YAML forbids it, since nobody can say how deep it is.
            return self.unread.push(number);
        }
        self.lines.push(Line {
            number,
            indent: line.len() - content.len(),
            text,
        });
    }

    /// The list, mapping or scalar whose lines have this indentation.
    fn block(&mut self, indent: usize, depth: usize) -> Node {
        let Some(first) = self.lines.get(self.next) else {
            return Node::Nothing;
        };
        if depth > MAX_DEPTH {
            self.give_up_below(indent);
            return Node::Nothing;
        }
        if is_element(first.text) {
            self.list(indent, depth)
        } else if split_key(first.text).is_some() {
            self.map(indent, depth)
        } else {
            self.give_up_below(indent);
            Node::Nothing
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Node {
        let mut elements = Vec::new();
        while let Some(line) = self.line_at(indent) {
            if !is_element(line.text) {
                // The next key of the mapping that the list stands in.
                break;
            }
            let number = line.number;
            let rest = line.text.get(1..).unwrap_or_default().trim_start();
            let offset = line.text.len() - rest.len();
            let element = if rest.is_empty() {
                self.next += 1;
                self.child(indent, depth)
            } else if is_element(rest) || split_key(rest).is_some() {
                // What follows the dash is the first line of a block of its own.
                if let Some(line) = self.lines.get_mut(self.next) {
                    line.indent += offset;
                    line.text = rest;
                }
                self.block(indent + offset, depth + 1)
            } else {
                self.next += 1;
                self.value(number, rest, indent)
            };
            elements.push((number, element));
        }
        Node::List(elements)
    }

    fn map(&mut self, indent: usize, depth: usize) -> Node {
        let mut entries = Vec::new();
        while let Some(line) = self.line_at(indent) {
            let number = line.number;
            let Some((key, rest)) = split_key(line.text) else {
                if is_element(line.text) {
                    break;
                }
                self.unread.push(number);
                self.next += 1;
                continue;
            };
            self.next += 1;
            // A name for what follows is of no use here.
            let is_name = rest.starts_with('&') && !rest.contains(' ');
            let value = if rest.is_empty() || is_name {
                let list = self
                    .lines
                    .get(self.next)
                    .is_some_and(|line| line.indent == indent && is_element(line.text));
                if list {
                    // A list may stand as far left as its key.
                    self.list(indent, depth + 1)
                } else {
                    self.child(indent, depth)
                }
            } else {
                self.value(number, rest, indent)
            };
            if key == "<<" {
                self.unread.push(number);
            } else {
                entries.push((number, key, value));
            }
        }
        Node::Map(entries)
    }

    /// The block that is indented more than `indent`.
    fn child(&mut self, indent: usize, depth: usize) -> Node {
        match self.lines.get(self.next) {
            Some(line) if line.indent > indent => self.block(line.indent, depth + 1),
            Some(_) | None => Node::Nothing,
        }
    }

    /// What stands behind a key or a dash in line `number`, and further lines that belong to it.
    fn value(&mut self, number: usize, text: &str, indent: usize) -> Node {
        let is_block_text = text.starts_with(['|', '>']);
        let mut text = text.to_owned();
        if is_block_text {
            text.clear();
        }
        // Whatever is indented more goes on with it: block texts, flow lists over several lines, long plain texts.
        let mut goes_on = false;
        while let Some(line) = self.lines.get(self.next)
            && line.indent > indent
        {
            text.push(' ');
            text.push_str(line.text);
            goes_on = true;
            self.next += 1;
        }
        let node = match text.trim().chars().next() {
            _ if is_block_text => Some(Node::Scalar(text.trim().to_owned())),
            Some('[') => flow_list(text.trim(), number),
            Some('{' | '*' | '&' | '!') => None,
            Some(_) | None if goes_on => None,
            Some(_) | None => scalar(text.trim()).map(Node::Scalar),
        };
        if node.is_none() {
            self.unread.push(number);
        }
        node.unwrap_or_default()
    }

    /// The next line if it has exactly this indentation; lines that are indented more belong to nothing.
    fn line_at(&mut self, indent: usize) -> Option<&Line<'a>> {
        while let Some(line) = self.lines.get(self.next)
            && line.indent > indent
        {
            self.unread.push(line.number);
            self.next += 1;
        }
        self.lines
            .get(self.next)
            .filter(|line| line.indent == indent)
    }

    fn give_up_below(&mut self, indent: usize) {
        while let Some(line) = self.lines.get(self.next)
            && line.indent >= indent
        {
            self.unread.push(line.number);
            self.next += 1;
        }
    }
}

fn is_element(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// The key of `key: value` or `key:`, and the value.
fn split_key(text: &str) -> Option<(String, &str)> {
    let (key, rest) = if text.starts_with(['"', '\'']) {
        let end = quoted_end(text)?;
        let (key, rest) = text.split_at_checked(end)?;
        (scalar(key)?, rest.trim_start().strip_prefix(':')?)
    } else if text.starts_with(['[', '{', '|', '>', '*', '&', '!', '%', '@', '`', ',', '#']) {
        return None;
    } else {
        let at = text.match_indices(':').map(|(at, _)| at).find(|at| {
            text.get(at + 1..)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        })?;
        let (key, rest) = text.split_at_checked(at)?;
        (key.trim_end().to_owned(), rest.strip_prefix(':')?)
    };
    let is_value = rest.is_empty() || rest.starts_with(' ');
    (is_value && !key.is_empty()).then(|| (key, rest.trim_start()))
}

/// A text without its quotes; `None` if they do not fit.
fn scalar(text: &str) -> Option<String> {
    let Some(quote @ ('"' | '\'')) = text.chars().next() else {
        return Some(text.to_owned());
    };
    if quoted_end(text)? != text.len() {
        return None;
    }
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    if quote == '\'' {
        return Some(inner.replace("''", "'"));
    }
    let mut unescaped = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        unescaped.push(match c {
            '\\' => match characters.next()? {
                'n' => '\n',
                't' => '\t',
                kept @ ('"' | '\\' | '/' | ' ') => kept,
                _ => return None,
            },
            c => c,
        });
    }
    Some(unescaped)
}

/// Where a text that begins with a quote ends, behind the closing one.
fn quoted_end(text: &str) -> Option<usize> {
    let quote = text.chars().next()?;
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && quote == '"' {
            characters.next();
        } else if c == quote {
            let is_doubled =
                quote == '\'' && characters.peek().is_some_and(|(_, next)| *next == quote);
            if !is_doubled {
                return Some(at + 1);
            }
            characters.next();
        }
    }
    None
}

/// `[a, "b", 'c']`. A list in a list is not understood.
fn flow_list(text: &str, number: usize) -> Option<Node> {
    let mut rest = text.strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let end = if rest.starts_with(['"', '\'']) {
            let end = quoted_end(rest)?;
            let behind = rest.get(end..)?.trim_start();
            if !behind.is_empty() && !behind.starts_with(',') {
                return None;
            }
            rest.len() - behind.len()
        } else {
            rest.find(',').unwrap_or(rest.len())
        };
        let (element, behind) = rest.split_at_checked(end)?;
        let element = element.trim();
        if element.starts_with(['[', '{', '*', '&', '!']) || element.contains([']', '}']) {
            return None;
        }
        elements.push((number, Node::Scalar(scalar(element)?)));
        rest = behind.strip_prefix(',').unwrap_or(behind).trim_start();
    }
    Some(Node::List(elements))
}

/// What stands before a comment: a `#` at the beginning or behind a blank, outside quotes.
fn without_comment(text: &str) -> &str {
    let mut previous = ' ';
    let mut at = 0;
    while let Some(rest) = text.get(at..)
        && let Some(c) = rest.chars().next()
    {
        let begins = previous == ' ' || "[{,".contains(previous);
        if c == '#' && previous.is_whitespace() {
            return text.get(..at).unwrap_or(text);
        }
        at += match c {
            // A quote counts where a value begins; elsewhere it is an apostrophe.
            '"' | '\'' if begins => quoted_end(rest).unwrap_or(c.len_utf8()),
            c => c.len_utf8(),
        };
        previous = c;
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const APPLICATION: &str = "\u{feff}version: '3.1'\r\n\
        # a comment\r\n\
        services:\r\n\
        \x20   app:\r\n\
        \x20       image: \"me/app:1.2\"   # mine\r\n\
        \x20       restart: on-failure\r\n\
        \x20       ports:\r\n\
        \x20       - \"5442:3000\"\r\n\
        \x20       - target: 80\r\n\
        \x20         published: 8080\r\n\
        \x20       command: ['node', \"a, b\", c]\r\n\
        \x20       environment:\r\n\
        \x20           - URL=http://localhost:5443 # here\r\n\
        \x20           - 'NOTE=it''s # no comment'\r\n\
        \x20       labels: {a: b}\r\n\
        \x20       entrypoint: >\r\n\
        \x20           sh -c\r\n\
        \x20           run\r\n\
        \x20   db: &db\r\n\
        \x20       image: mysql\r\n";

    #[test]
    fn what_compose_files_are_made_of_is_read_with_its_lines() {
        let read = parse(APPLICATION.as_bytes()).unwrap();
        let app = read.root.get("services").unwrap().get("app").unwrap();
        assert_eq!(app.get("image").unwrap().text(), Some("me/app:1.2"));
        let ports: Vec<_> = app.get("ports").unwrap().elements().collect();
        assert_eq!(ports[0], (8, &Node::Scalar("5442:3000".into())));
        assert_eq!(ports[1].0, 9);
        assert_eq!(ports[1].1.get("published").unwrap().text(), Some("8080"));
        let words = app.get("command").unwrap().elements();
        let words: Vec<_> = words.filter_map(|(_, word)| word.text()).collect();
        assert_eq!(words, ["node", "a, b", "c"]);
        let variables = app.get("environment").unwrap().elements();
        let variables: Vec<_> = variables.filter_map(|(_, it)| it.text()).collect();
        assert_eq!(
            variables,
            ["URL=http://localhost:5443", "NOTE=it's # no comment"]
        );
        assert_eq!(app.get("entrypoint").unwrap().text(), Some("sh -c run"));
        assert_eq!(read.unread, [15], "a flow mapping is not understood");
        let db = read.root.get("services").unwrap().get("db").unwrap();
        assert_eq!(db.get("image").unwrap().text(), Some("mysql"));
    }

    #[test]
    fn what_is_not_understood_is_told_by_its_line_and_left_out() {
        for (text, unread) in [
            ("a: *b\nc: d\n", vec![1]),
            ("a:\n  <<: *b\n  c: d\n", vec![2]),
            ("\ta: b\nc: d\n", vec![1]),
            ("a: \"open\nc: d\n", vec![1]),
            ("a: b\n  c: d\n", vec![1]),
            ("a: [b, [c]]\n", vec![1]),
            ("just a text\n", vec![1]),
            ("  a: b\nc: d\n", vec![2]),
            ("a: !tag b\n", vec![1]),
            ("a: [b,\n  c]\n", vec![]),
            ("---\na: b\n", vec![]),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().unread, unread, "{text}");
        }
        let read = parse(b"a: *b\nc: d\n").unwrap();
        assert_eq!(read.root.get("c").unwrap().text(), Some("d"));
        assert_eq!(parse(&[0xff]), Err(NotRead::NotUtf8));
        assert_eq!(parse(&vec![b' '; MAX_SIZE + 1]), Err(NotRead::TooLarge));
        assert_eq!(parse(b"").unwrap(), Document::default());
    }

    #[test]
    fn depth_is_bounded_in_both_ways_of_nesting() {
        let dashes = "- ".repeat(100_000) + "a";
        assert_eq!(parse(dashes.as_bytes()).unwrap().unread, [1]);
        let deep: String = (0..300).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        assert!(!parse(deep.as_bytes()).unwrap().unread.is_empty());
    }

    fn written(map: &[(String, Vec<String>)]) -> String {
        let mut text = String::new();
        for (key, elements) in map {
            text.push_str(&format!("'{}':\n", key.replace('\'', "''")));
            for element in elements {
                text.push_str(&format!("  - '{}'\n", element.replace('\'', "''")));
            }
        }
        text
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_soup_of_its_signs_is_read_without_a_panic(
            text in "(  |    |- |a|b: |:|\"|'|#| |\\[|\\]|\\{|,|&x |\\*x|<<: |>|\\||\n|\t|\u{e9}){0,60}"
        ) {
            let lines = text.lines().count();
            let read = parse(text.as_bytes()).unwrap();
            prop_assert!(read.unread.iter().all(|line| (1..=lines).contains(line)));
        }

        #[test]
        fn quoted_texts_are_read_back(
            map in prop::collection::vec(("[^\\p{C}]{1,20}", prop::collection::vec("[^\\p{C}]{0,20}", 1..4)), 1..5)
        ) {
            let read = parse(written(&map).as_bytes()).unwrap();
            let back: Vec<_> = read.root.entries().map(|(_, key, elements)| {
                let texts = elements.elements().filter_map(|(_, it)| it.text().map(str::to_owned));
                (key.to_owned(), texts.collect::<Vec<_>>())
            }).collect();
            prop_assert_eq!(back, map);
            prop_assert!(read.unread.is_empty());
        }
    }
}
