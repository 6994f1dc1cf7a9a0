//! Attribute macros of Firesteel: the main function of a program.
//!
//! Used through the crate `firesteel`, which exports them. The function is read by hand, token by token: one shape is
//! accepted, and everything else gets a message of its own; a full Rust parser would cost every program's build
//! seconds.

use proc_macro::{Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};

/// Makes a program's `fn main` a Firesteel program's.
///
/// Around the function's body it does what every Firesteel program needs. Before it: a process that was started as an
/// executor becomes one and never runs the body. After it: contexts that are still alive are stopped, so that the
/// application's end is recorded and nothing stays behind; an `Err` is printed as `Error: …` in the words meant for
/// users (`Display`, not `Debug`), and the process ends with code 1.
///
/// ```ignore
/// use firesteel::prelude::*;
///
/// #[firesteel::main]
/// fn main() -> Result<()> {
///     let sc = Context::new()?;
///     println!("{}", sc.range(0..10).count()?);
///     Ok(())
/// }
/// ```
///
/// The program's allocator becomes mimalloc with a count of what is allocated, which the memory budget is held against. A program
/// that has a `#[global_allocator]` of its own says `#[firesteel::main(own_allocator)]`; then only estimates count.
///
/// The function takes no arguments and returns nothing or a `Result<(), E>` whose error can be displayed.
///
/// # Errors
/// Anything but such a function named `main` is a compile error that says what is wrong: an `async fn`, parameters,
/// another name, arguments of the attribute.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut arguments = arguments.into_iter();
    let first = arguments.next();
    let own_allocator = first.as_ref().is_some_and(|first| first.to_string() == "own_allocator");
    if let Some(argument) = if own_allocator { arguments.next() } else { first } {
        return refuse(
            "`#[firesteel::main]` takes no arguments but `own_allocator`: settings come from the environment, from flags of \
             `firesteel submit`, or from `Context::builder()`",
            argument.span(),
            item,
        );
    }
    match MainFunction::parse(item.clone()) {
        Ok(function) if own_allocator => function.expand(),
        Ok(function) => [allocator(), function.expand()].into_iter().collect(),
        // A `main` that cannot be would get a second error from rustc; an empty one in its place does not.
        Err((message, span)) if is_main(&item) => refuse(message, span, empty_main()),
        Err((message, span)) => refuse(message, span, item),
    }
}

/// The parts of a main function that the expansion puts elsewhere.
struct MainFunction {
    /// Attributes and visibility: they stay on the outer function, whose lint levels hold inside, too.
    before: TokenStream,
    /// The tokens `fn` and `main`, for their place in the user's file.
    name: [TokenTree; 2],
    /// `-> T`, or nothing.
    returns: TokenStream,
    body: Group,
}

impl MainFunction {
    fn parse(item: TokenStream) -> Result<Self, (&'static str, Span)> {
        const SHAPE: &str =
            "`#[firesteel::main]` goes on the program's main function: `fn main() -> Result<()> { .. }`";
        let mut tokens = item.into_iter().peekable();
        let mut before = Vec::new();

        let keyword = loop {
            let Some(token) = tokens.next() else { return Err((SHAPE, Span::call_site())) };
            let word = match &token {
                TokenTree::Ident(ident) => ident.to_string(),
                _ => String::new(),
            };
            match word.as_str() {
                "fn" => break token,
                "async" => {
                    return Err((
                        "`async fn main` cannot be a Firesteel program's: actions wait for their jobs. Write `fn main()` \
                         and start an async runtime inside it where one is needed",
                        token.span(),
                    ));
                }
                "const" | "unsafe" | "extern" | "safe" => {
                    return Err(("a Firesteel program's main function is a plain `fn main()`", token.span()));
                }
                // `#`, `[..]`, `pub`, `(crate)`; also what an editor or another macro wraps in invisible groups.
                "" | "pub" => before.push(token),
                _ => return Err((SHAPE, token.span())),
            }
        };

        let name = match tokens.next() {
            Some(token) if token.to_string() == "main" => token,
            Some(token) => {
                return Err((
                    "`#[firesteel::main]` goes on the function named `main`: it is where a process that was started as an \
                     executor becomes one",
                    token.span(),
                ));
            }
            None => return Err((SHAPE, keyword.span())),
        };
        match tokens.next() {
            Some(TokenTree::Group(parameters)) if parameters.delimiter() == Delimiter::Parenthesis => {
                if !parameters.stream().is_empty() {
                    return Err((
                        "a main function takes no parameters: read arguments with `std::env::args()`, make the context with \
                         `Context::new()`",
                        parameters.span(),
                    ));
                }
            }
            Some(token) => return Err(("a main function is not generic", token.span())),
            None => return Err((SHAPE, name.span())),
        }

        let mut rest: Vec<TokenTree> = tokens.collect();
        let body = match rest.pop() {
            Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => body,
            Some(token) => return Err((SHAPE, token.span())),
            None => return Err((SHAPE, name.span())),
        };
        match rest.first() {
            None => {}
            Some(TokenTree::Punct(dash)) if dash.as_char() == '-' => {}
            Some(token) => return Err((SHAPE, token.span())),
        }
        Ok(MainFunction {
            before: before.into_iter().collect(),
            name: [keyword, name],
            returns: rest.into_iter().collect(),
            body,
        })
    }

    /// ```ignore
    /// fn main() -> ::std::process::ExitCode {
    ///     fn main() -> /* the user's type */ { /* the user's body */ }
    ///     ::firesteel::__private::run_main(main)
    /// }
    /// ```
    fn expand(self) -> TokenStream {
        let no_parameters =
            || TokenStream::from(TokenTree::Group(Group::new(Delimiter::Parenthesis, TokenStream::new())));
        let head = || TokenStream::from_iter(self.name.clone());
        let inner = [head(), no_parameters(), self.returns.clone(), TokenTree::Group(self.body).into()];
        let user = TokenStream::from_iter([self.name[1].clone()]);
        let call = TokenTree::Group(Group::new(Delimiter::Parenthesis, user)).into();
        let body = inner.into_iter().chain([path(&["firesteel", "__private", "run_main"]), call]).collect();

        let arrow = [Punct::new('-', Spacing::Joint), Punct::new('>', Spacing::Alone)].map(TokenTree::Punct);
        [
            self.before,
            head(),
            no_parameters(),
            arrow.into_iter().collect(),
            path(&["std", "process", "ExitCode"]),
            TokenTree::Group(Group::new(Delimiter::Brace, body)).into(),
        ]
        .into_iter()
        .collect()
    }
}

/// Makes Firesteel's allocator the program's.
fn allocator() -> TokenStream {
    "const _: () = {
        #[global_allocator]
        static ALLOCATOR: ::firesteel::__private::Allocator = ::firesteel::__private::Allocator;
    };"
    .parse()
    .expect("an item")
}

/// `::first::second::..`
fn path(segments: &[&str]) -> TokenStream {
    let colons = [Punct::new(':', Spacing::Joint), Punct::new(':', Spacing::Alone)].map(TokenTree::Punct);
    let segment = |name: &&str| TokenTree::Ident(Ident::new(name, Span::call_site()));
    segments.iter().flat_map(|name| colons.clone().into_iter().chain([segment(name)])).collect()
}

/// Does the item say `fn main`?
fn is_main(item: &TokenStream) -> bool {
    let words: Vec<String> = item.clone().into_iter().map(|token| token.to_string()).collect();
    words.windows(2).any(|pair| pair == ["fn", "main"])
}

/// `fn main() {}`
fn empty_main() -> TokenStream {
    let word = |name| TokenTree::Ident(Ident::new(name, Span::call_site()));
    let group = |delimiter| TokenTree::Group(Group::new(delimiter, TokenStream::new()));
    TokenStream::from_iter([word("fn"), word("main"), group(Delimiter::Parenthesis), group(Delimiter::Brace)])
}

/// `compile_error!(message);` at the place of the mistake, and an item that gives no second error.
fn refuse(message: &str, span: Span, item: TokenStream) -> TokenStream {
    let message = TokenTree::Literal(proc_macro::Literal::string(message));
    let tokens: [TokenTree; 4] = [
        Ident::new("compile_error", span).into(),
        Punct::new('!', Spacing::Alone).into(),
        Group::new(Delimiter::Parenthesis, message.into()).into(),
        Punct::new(';', Spacing::Alone).into(),
    ];
    let located = tokens.into_iter().map(|mut token| {
        token.set_span(span);
        token
    });
    located.chain(item).collect()
}
