fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<inbox::Inbox>(records::ALL)
}
