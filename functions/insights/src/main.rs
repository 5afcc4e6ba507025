fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<insights::Insights>(records::ALL)
}
