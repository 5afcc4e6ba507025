//! The AWS of all contenders: the embedded services made from template.yaml, each behind its own TLS endpoint.
use std::{collections::BTreeMap, sync::Arc};

use stack::{
    aws::{Aws, Storage},
    template::Template,
};

use crate::{
    Outcome,
    certificates::Trust,
    contenders::Places,
    process::Program,
    proxy::{Proxy, Recorder},
};

const PUBLIC_URL: &str = "https://api.example.com";

pub struct World {
    pub aws: Aws,
    pub table: String,
    pub recorder: Arc<Recorder>,
    functions: BTreeMap<String, BTreeMap<String, String>>,
    dynamodb: Proxy,
    secrets_manager: Proxy,
}

impl World {
    pub async fn start(places: &Places, trust: &Trust) -> Outcome<Self> {
        let template = Template::load(places.root.join("template.yaml"))?
            .with_parameter("Stage", "local")
            .with_parameter("PublicUrl", PUBLIC_URL)
            .with_parameter("MailFrom", "bench@example.com")
            .with_parameter("MailIdentity", "example.com")
            .with_parameter("InboundDomain", "in.example.com")
            // No mail waits for the carrier.
            .with_parameter("SesPerSecond", "1000")
            .with_parameter("NewTenantDaily", "0");
        let aws = Aws::start(Storage::Memory)?;
        aws.create(&template).await?;
        let functions = aws.function_environments(&template)?;
        let table = functions.get("projects").and_then(|it| it.get("TABLE_NAME")).cloned();
        let recorder = Arc::new(Recorder::default());
        Ok(Self {
            table: table.ok_or("template.yaml gives the function `projects` no TABLE_NAME")?,
            dynamodb: Proxy::start("127.0.0.1", trust.acceptor()?, aws.dynamodb_url(), Some(aws.database().clone()), recorder.clone())
                .await?,
            secrets_manager: Proxy::start("127.0.0.2", trust.acceptor()?, aws.secrets_manager_url(), None, recorder.clone()).await?,
            functions,
            aws,
            recorder,
        })
    }

    /// What Lambda, template.yaml and this run give a function. Contenders get the same as `projects`.
    pub fn environment(&self, function: &str) -> Vec<(String, String)> {
        let mut environment = self.functions.get(function).cloned().unwrap_or_default();
        let set = [
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.url.as_str()),
            ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &self.secrets_manager.url),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_NAME", function),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "bench"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "bench"),
            ("HOME", "/"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            // More requests a minute than any plan allows: counted as always, but never refused.
            ("RATE_LIMITS", "report"),
            ("STAGE", "local"),
            ("TZ", ":UTC"),
        ];
        environment.extend(set.map(|(name, value)| (name.to_owned(), value.to_owned())));
        environment.into_iter().collect()
    }

    pub fn place(&self, mut program: Program, function: &str) -> Program {
        program.environment.extend(self.environment(function));
        program
    }
}
