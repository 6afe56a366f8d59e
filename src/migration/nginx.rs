//! nginx's configuration language: words, quotes, comments, blocks. What the words mean is not decided here.
//!
//! Files come from the operator's folder, so they may be damaged or made to hurt: the reader is bounded in size, depth
//! and number of directives, and answers with an error for whatever nginx would refuse.

/// The largest file that is read; hand-written ones have a few KiB.
pub const MAX_SIZE: usize = 256 * 1024;
/// The deepest nesting of blocks: `http`, `server`, `location` and an `if` are four.
const MAX_DEPTH: usize = 16;
/// The most directives of one file.
const MAX_DIRECTIVES: usize = 10_000;

/// One directive: `name word word;` or `name word { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// The line of its first word, from 1.
    pub line: usize,
    /// Its first word.
    pub name: String,
    /// The words after it, without their quotes.
    pub words: Vec<String>,
    /// What stands between its braces; `None` if it ends with a semicolon.
    pub block: Option<Vec<Directive>>,
}

impl Directive {
    /// Its only word, if it has exactly one.
    pub fn word(&self) -> Option<&str> {
        match self.words.as_slice() {
            [word] => Some(word),
            _ => None,
        }
    }
}

/// Why a file cannot be read, and at which line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// The file is larger than [`MAX_SIZE`].
    #[error("the file is larger than 256 KiB")]
    TooLarge,
    /// The bytes are not UTF-8.
    #[error("the file is not UTF-8")]
    NotUtf8,
    /// A quote without its end.
    #[error("line {0}: a quote is never closed")]
    OpenQuote(usize),
    /// A `{` without its end.
    #[error("line {0}: a block is never closed")]
    OpenBlock(usize),
    /// A `}` that closes nothing.
    #[error("line {0}: a brace closes nothing")]
    StrayBrace(usize),
    /// Words without a `;` or a block.
    #[error("line {0}: a directive ends with neither a semicolon nor a block")]
    NoEnd(usize),
    /// A `;` or `{` without a word before it.
    #[error("line {0}: a directive has no name")]
    NoName(usize),
    /// More blocks within blocks than are read.
    #[error("line {0}: blocks are nested too deeply")]
    TooDeep(usize),
    /// More directives than are read.
    #[error("line {0}: there are too many directives")]
    TooMany(usize),
}

/// Reads a file.
///
/// # Errors
/// The first thing that nginx would refuse, or a bound of ours.
pub fn parse(bytes: &[u8]) -> Result<Vec<Directive>, NotRead> {
    if bytes.len() > MAX_SIZE {
        return Err(NotRead::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NotRead::NotUtf8)?;
    let mut reader = Reader {
        words: Words {
            rest: text.strip_prefix('\u{feff}').unwrap_or(text),
            line: 1,
        },
        directives: 0,
    };
    reader.block(None, 0)
}

struct Reader<'a> {
    words: Words<'a>,
    directives: usize,
}

impl Reader<'_> {
    /// The directives up to the brace that closes the block opened at line `opened`, or to the end of the file.
    fn block(&mut self, opened: Option<usize>, depth: usize) -> Result<Vec<Directive>, NotRead> {
        let mut directives = Vec::new();
        let mut words: Vec<(usize, String)> = Vec::new();
        loop {
            let (line, token) = self.words.next()?;
            let is_block = match token {
                Token::Word(word) => {
                    words.push((line, word));
                    continue;
                }
                Token::End | Token::Close if !words.is_empty() => {
                    return Err(NotRead::NoEnd(
                        words.first().map_or(line, |(line, _)| *line),
                    ));
                }
                Token::End => {
                    return match opened {
                        Some(line) => Err(NotRead::OpenBlock(line)),
                        None => Ok(directives),
                    };
                }
                Token::Close => {
                    return match opened {
                        Some(_) => Ok(directives),
                        None => Err(NotRead::StrayBrace(line)),
                    };
                }
                Token::Open => true,
                Token::Semicolon => false,
            };
            let mut words = std::mem::take(&mut words).into_iter();
            let (first, name) = words.next().ok_or(NotRead::NoName(line))?;
            self.directives += 1;
            if self.directives > MAX_DIRECTIVES {
                return Err(NotRead::TooMany(line));
            }
            let block = if is_block {
                if depth >= MAX_DEPTH {
                    return Err(NotRead::TooDeep(line));
                }
                Some(self.block(Some(line), depth + 1)?)
            } else {
                None
            };
            directives.push(Directive {
                line: first,
                name,
                words: words.map(|(_, word)| word).collect(),
                block,
            });
        }
    }
}

enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
    End,
}

/// The file as tokens.
struct Words<'a> {
    rest: &'a str,
    line: usize,
}

impl Words<'_> {
    /// The next token and the line that it begins at.
    fn next(&mut self) -> Result<(usize, Token), NotRead> {
        loop {
            let Some(next) = self.rest.chars().next() else {
                return Ok((self.line, Token::End));
            };
            let line = self.line;
            let token = match next {
                '#' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.skip(end);
                    continue;
                }
                ';' => Token::Semicolon,
                '{' => Token::Open,
                '}' => Token::Close,
                '"' | '\'' => return Ok((line, Token::Word(self.quoted(next)?))),
                c if c.is_ascii_whitespace() => {
                    self.skip(1);
                    continue;
                }
                _ => return Ok((line, Token::Word(self.plain()))),
            };
            self.skip(1);
            return Ok((line, token));
        }
    }

    /// A word in quotes: a backslash keeps the next character.
    fn quoted(&mut self, quote: char) -> Result<String, NotRead> {
        let opened = self.line;
        let mut word = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => word.extend(characters.next().map(|(_, kept)| kept)),
                c if c == quote => {
                    self.skip(at + c.len_utf8());
                    return Ok(word);
                }
                c => word.push(c),
            }
        }
        Err(NotRead::OpenQuote(opened))
    }

    /// A word without quotes. The brace of `${name}` belongs to it.
    fn plain(&mut self) -> String {
        let mut word = String::new();
        let mut is_variable = false;
        let mut characters = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => {
                    // Regular expressions need theirs.
                    word.push(c);
                    word.extend(characters.next().map(|(_, kept)| kept));
                    continue;
                }
                '{' if word.ends_with('$') => is_variable = true,
                '}' if is_variable => is_variable = false,
                ';' | '{' | '}' => {
                    end = at;
                    break;
                }
                c if c.is_ascii_whitespace() => {
                    end = at;
                    break;
                }
                _ => {}
            }
            word.push(c);
        }
        self.skip(end);
        word
    }

    /// Goes on behind the next `bytes` bytes, which end at a character's end.
    fn skip(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += passed.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(directives: &[Directive]) -> Vec<(usize, &str)> {
        let named = directives.iter();
        named.map(|it| (it.line, it.name.as_str())).collect()
    }

    #[test]
    fn blocks_words_quotes_and_comments_are_read_as_nginx_does() {
        let text = b"\xef\xbb\xbf# a comment; { not a block }\r\n\
            location /api/ { # here too\n\
              proxy_pass http://127.0.0.1:8080;\n\
              proxy_set_header Connection \"up\\\"grade\"; add_header X 'a;b{';\n\
            }\n\
            map $http_upgrade ${x}_y {\n default upgrade;\n '' close; }\n";
        let read = parse(text).unwrap();
        assert_eq!(names(&read), [(2, "location"), (6, "map")]);
        assert_eq!(read[0].words, ["/api/"]);
        let inside = read[0].block.as_ref().unwrap();
        assert_eq!(
            names(inside),
            [
                (3, "proxy_pass"),
                (4, "proxy_set_header"),
                (4, "add_header")
            ]
        );
        assert_eq!(inside[1].words, ["Connection", "up\"grade"]);
        assert_eq!(inside[2].words, ["X", "a;b{"]);
        assert_eq!(read[1].words, ["$http_upgrade", "${x}_y"]);
        assert_eq!(
            names(read[1].block.as_ref().unwrap()),
            [(7, "default"), (8, "")]
        );
        assert_eq!(parse(b"").unwrap(), []);
        let regex = parse(b"location ~ \\.php$ { deny all; }").unwrap();
        assert_eq!(regex[0].words, ["~", "\\.php$"]);
    }

    #[test]
    fn what_nginx_would_refuse_is_refused_with_its_line() {
        for (text, expected) in [
            ("a b", NotRead::NoEnd(1)),
            ("\n\na {\n b c;\n", NotRead::OpenBlock(3)),
            ("a;\n}", NotRead::StrayBrace(2)),
            ("a { b }", NotRead::NoEnd(1)),
            (";", NotRead::NoName(1)),
            ("{ a; }", NotRead::NoName(1)),
            ("a \"b;\n c", NotRead::OpenQuote(1)),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(expected), "{text}");
        }
        assert_eq!(parse(b"a \xff;"), Err(NotRead::NotUtf8));
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        assert_eq!(parse(&vec![b'#'; MAX_SIZE + 1]), Err(NotRead::TooLarge));
        let deep = "a {".repeat(MAX_SIZE / 3);
        assert_eq!(parse(deep.as_bytes()), Err(NotRead::TooDeep(1)));
        let many = "a;".repeat(MAX_DIRECTIVES + 1);
        assert_eq!(parse(many.as_bytes()), Err(NotRead::TooMany(1)));
    }

    fn written(directives: &[Directive]) -> String {
        let mut text = String::new();
        for directive in directives {
            for word in std::iter::once(&directive.name).chain(&directive.words) {
                let word = word.replace('\\', "\\\\").replace('"', "\\\"");
                text.push_str(&format!("\"{word}\" "));
            }
            match &directive.block {
                Some(block) => text.push_str(&format!("{{ {} }}", written(block))),
                None => text.push(';'),
            }
        }
        text
    }

    fn directive() -> impl Strategy<Value = Directive> {
        let leaf = (
            any::<String>(),
            prop::collection::vec(any::<String>(), 0..4),
        );
        let leaf = leaf.prop_map(|(name, words)| Directive {
            line: 0,
            name,
            words,
            block: None,
        });
        leaf.prop_recursive(4, 24, 4, |inner| {
            (any::<String>(), prop::collection::vec(inner, 0..4)).prop_map(|(name, block)| {
                Directive {
                    line: 0,
                    name,
                    words: Vec::new(),
                    block: Some(block),
                }
            })
        })
    }

    fn without_lines(directives: &mut [Directive]) {
        for directive in directives {
            directive.line = 0;
            without_lines(directive.block.as_deref_mut().unwrap_or_default());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_soup_of_its_signs_is_read_without_a_panic(text in "([a-z${} ;\"'#\\\\\n\u{e9}]){0,80}") {
            let lines = text.lines().count();
            if let Ok(read) = parse(text.as_bytes()) {
                prop_assert!(read.iter().all(|it| (1..=lines).contains(&it.line)));
            }
        }

        #[test]
        fn what_is_written_in_quotes_is_read_back(directives in prop::collection::vec(directive(), 0..5)) {
            let mut read = parse(written(&directives).as_bytes()).unwrap();
            without_lines(&mut read);
            prop_assert_eq!(read, directives);
        }
    }
}
