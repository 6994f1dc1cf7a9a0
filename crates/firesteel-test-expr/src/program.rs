//! Programs: a text in reverse Polish notation, compiled to bytes, run on a stack.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::fmt;

/// What programs read and make.
pub type Row = Vec<i64>;

const FIELD: u8 = 1;
const NUMBER: u8 = 2;
const ADD: u8 = 3;
const SUBTRACT: u8 = 4;
const MULTIPLY: u8 = 5;
const REMAINDER: u8 = 6;
const LESS: u8 = 7;

/// A program: it reads a row's fields, and what it leaves on the stack is the new row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Program {
    code: Vec<u8>,
}

/// What is wrong with a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CompileError(String);

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for CompileError {}

impl Program {
    /// Compiles a text: `$0` is the row's first field, `7` a number, and `+ - * % <` take two values off the stack.
    ///
    /// # Errors
    /// [`CompileError`] for a word that is none of these, or an operator that lacks values.
    ///
    /// ```
    /// use firesteel_test_expr::Program;
    ///
    /// assert_eq!(Program::compile("$0 2 * 1 + $0").unwrap().run(&[20]), [41, 20]);
    /// assert!(Program::compile("$0 +").is_err());
    /// ```
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        let mut code = Vec::new();
        for word in text.split_whitespace() {
            match word {
                "+" => code.push(ADD),
                "-" => code.push(SUBTRACT),
                "*" => code.push(MULTIPLY),
                "%" => code.push(REMAINDER),
                "<" => code.push(LESS),
                _ => {
                    let unknown = || CompileError(format!("`{word}` is no word of the language"));
                    if let Some(field) = word.strip_prefix('$') {
                        code.extend([FIELD, field.parse().map_err(|_| unknown())?]);
                    } else {
                        code.push(NUMBER);
                        code.extend(word.parse::<i64>().map_err(|_| unknown())?.to_le_bytes());
                    }
                }
            }
        }
        check(&code).map_err(CompileError)?;
        Ok(Program { code })
    }

    /// The program with one byte changed: what a damaged message would bring.
    pub fn damaged(mut self, at: usize, byte: u8) -> Self {
        self.code[at] = byte;
        self
    }

    /// Runs it.
    ///
    /// # Panics
    /// If the row lacks a field that it reads, or on a remainder by 0.
    pub fn run(&self, row: &[i64]) -> Row {
        let mut stack = Row::new();
        let mut code = self.code.as_slice();
        while let Some((op, rest)) = code.split_first() {
            code = rest;
            match *op {
                FIELD => {
                    stack.push(row[code[0] as usize]);
                    code = &code[1..];
                }
                NUMBER => {
                    let (number, rest) = code.split_first_chunk().expect("checked when it was made");
                    stack.push(i64::from_le_bytes(*number));
                    code = rest;
                }
                op => {
                    let (b, a) = (stack.pop(), stack.pop());
                    let (a, b) = (a.expect("checked when it was made"), b.expect("checked when it was made"));
                    stack.push(match op {
                        ADD => a.wrapping_add(b),
                        SUBTRACT => a.wrapping_sub(b),
                        MULTIPLY => a.wrapping_mul(b),
                        REMAINDER => a % b,
                        _ => i64::from(a < b),
                    });
                }
            }
        }
        stack
    }
}

/// Whether the bytes are a program, so that running them need not look.
fn check(mut code: &[u8]) -> Result<(), String> {
    let mut depth = 0;
    while let Some((op, rest)) = code.split_first() {
        let (takes, operand) = match *op {
            FIELD => (0, 1),
            NUMBER => (0, 8),
            ADD..=LESS => (2, 0),
            other => return Err(format!("{other:#04x} is no instruction of the language")),
        };
        if depth < takes {
            return Err("an operator lacks values".into());
        }
        depth = depth - takes + 1;
        code = rest.get(operand..).ok_or("the program ends inside an instruction")?;
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Program {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Bytes {
            code: Vec<u8>,
        }
        let Bytes { code } = Bytes::deserialize(deserializer)?;
        check(&code).map_err(D::Error::custom)?;
        Ok(Program { code })
    }
}
