fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<webhooks::Webhooks>(records::ALL)
}
