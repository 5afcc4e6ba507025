fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<messages::Messages>(records::ALL)
}
