#[firesteel_macros::main]
fn main(arguments: Vec<String>) -> Result<(), String> {
    Ok(())
}
