fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<campaigns::Campaigns>(records::ALL)
}
