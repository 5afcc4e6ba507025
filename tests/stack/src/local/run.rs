//! The order of steps: claim the data, embed, build, start, prepare, say ready, play the event sources, stop.

use std::{
    collections::BTreeMap,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use http::Method;
use serde_json::{Value, json};
use stack::{
    aws::{Aws, Storage},
    client::Api,
    console::Console,
    gateway::{
        Gateway, Settings,
        access::AccessLog,
        cors::Cors,
        functions::{Functions, Timeouts},
        queue::Bounds,
        throttle::Throttle,
    },
    phone_lines, samples,
    sources::{self, Invoke, Sources},
    template::Template,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::{
    demo,
    options::Options,
    terminal::Terminal,
    tools,
    watch::{self as functions, WatchSetup, Watchers},
    workspace,
};

/// A predecessor that was killed needs a moment until its functions have released the port.
const PORT_TIMEOUT: Duration = Duration::from_secs(4);

const TTL_SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The limits: running in total, running for one function, and waiting. A function processes one event at a time; the rest of its share
/// keeps it busy.
const BOUNDS: Bounds = Bounds { places: 64, per_function: 32, waiting: 1_000 };

pub async fn run(options: Options) -> Result<(), String> {
    let access = AccessLog::new();
    let terminal = Terminal::new(options.json, access.clone());
    let mut stop = Stop::listen()?;
    tokio::select! {
        // Checked first: Ctrl-C also ends a running build, whose failure should then not be reported.
        biased;
        // Dropping this future stops what was started so far.
        () = stop.asked() => Ok(()),
        outcome = start(&options, &terminal, access) => match outcome {
            Ok(running) => running.until(stop, &terminal).await,
            Err(error) => {
                terminal.failed();
                Err(error)
            }
        },
    }
}

async fn start(options: &Options, terminal: &Terminal, access: AccessLog) -> Result<Running, String> {
    if options.port == options.console_port {
        return Err(format!("the API and the console cannot both have port {}", options.port));
    }
    let root = workspace::find()?;
    let base = format!("http://127.0.0.1:{}", options.port);
    let directory = options.data.clone().unwrap_or_else(|| root.join(".local").join("data"));
    let lock = match options.memory {
        true => None,
        false => Some(workspace::claim(&directory)?),
    };
    let console_listener = free_port(options.console_port, "--console-port").await?;
    let mut api_listeners = vec![free_port(options.port, "--port").await?];
    // `localhost` may be IPv4 or IPv6. Without IPv6 it is IPv4.
    api_listeners.extend(TcpListener::bind((IpAddr::from(Ipv6Addr::LOCALHOST), options.port)).await.ok());

    let provider = samples::Provider::open().await.map_err(text)?;
    let template = local_template(&root, &base, options)?.with_parameter("OidcIssuers", &provider.issuers());
    let functions_declared = template.functions().map_err(text)?;
    let cargo_lambda = tools::cargo_lambda(&root)?;

    let storage = match options.memory {
        true => Storage::Memory,
        false => Storage::Disk(directory),
    };
    let aws = Aws::start(storage).map_err(text)?;
    aws.require_signatures();
    aws.create(&template).await.map_err(text)?;
    let tables = template.tables().map_err(text)?.into_iter().map(|table| table.name).collect();
    let console = Console::new(aws.clone(), access.clone(), &base, root.join("openapi.json"), tables);
    let mut tasks = JoinSet::new();
    let trouble = terminal.clone();
    tasks.spawn(async move {
        if let Err(error) = provider.serve().await {
            trouble.trouble(None, &format!("the identity provider of the sample events stopped: {error}"));
        }
    });
    let trouble = terminal.clone();
    tasks.spawn(async move {
        if let Err(error) = axum::serve(console_listener, console.router()).await {
            trouble.trouble(None, &format!("the console stopped: {error}"));
        }
    });

    terminal.say("building the functions");
    functions::build(&root, &functions_declared, options.release).await?;
    let instances = sources::instances(&template).map_err(text)?;
    let functions = Functions::new(&functions_declared, &instances, BOUNDS, Timeouts::default());
    let gateway = Gateway::new(settings(&template, options)?, functions.clone(), access);
    for listener in api_listeners {
        tasks.spawn(gateway.clone().serve(listener));
    }
    tasks.spawn(terminal.clone().follow());
    let workshop =
        WatchSetup { cargo_lambda, workspace: root, release: options.release, functions: functions.clone(), terminal: terminal.clone() };
    let watchers = Watchers::start(workshop, environments(&aws, &template, options)?).await?;

    let api = Api::new(&base);
    prepare(&template, &api, &functions).await?;
    let (stop_sources, stopped) = watch::channel(false);
    let sources = Sources::new(&template, &aws, functions.clone()).map_err(text)?;
    let trouble = terminal.clone();
    tasks.spawn(Arc::new(sources).run(stopped, move |message| trouble.trouble(None, &message)));
    let trouble = terminal.clone();
    tasks.spawn(aws.mailbox().clone().run(api.clone(), move |message| trouble.trouble(None, message)));
    let trouble = terminal.clone();
    tasks.spawn(aws.phones().clone().run(move |message| trouble.trouble(None, message)));
    tasks.spawn(sweep(aws.clone(), terminal.clone()));

    let lines = phone_lines::seed(aws.phones(), &functions, &base).await;
    if let Err(error) = lines {
        terminal.trouble(None, &format!("messages to phones go nowhere: {error}"));
    }
    let (demo, samples) = tokio::join!(demo::seed(&api, aws.journal()), samples::seed(&aws, &template, &functions));
    if let Err(error) = samples {
        terminal.trouble(None, &format!("the sample events find nothing to work on: {error}"));
    }
    let mut said = format!("ready {base}\n");
    match demo {
        Ok(demo) => said.push_str(&demo.usage(&base)),
        Err(error) => terminal.trouble(None, &format!("there is no demo tenant: {error}")),
    }
    if let Some(key) = ingest_key(&aws, &template).await? {
        said.push_str(&format!("ingest key:   {key}\n"));
    }
    let console = format!("http://127.0.0.1:{}", options.console_port);
    terminal.say(&format!("console on {console}, mails on {console}/mailbox, phones on {console}/phones, webhooks on {console}/catcher"));
    print(&said)?;
    terminal.ready();
    Ok(Running { watchers, stop_sources, _tasks: tasks, _aws: aws, _lock: lock })
}

struct Running {
    watchers: Watchers,
    stop_sources: watch::Sender<bool>,
    _tasks: JoinSet<()>,
    _aws: Aws,
    _lock: Option<workspace::DataLock>,
}

impl Running {
    async fn until(self, mut stop: Stop, terminal: &Terminal) -> Result<(), String> {
        stop.asked().await;
        terminal.say("stopping");
        self.stop_sources.send_replace(true);
        self.watchers.stop().await;
        Ok(())
    }
}

fn local_template(root: &Path, base: &str, options: &Options) -> Result<Template, String> {
    let template = Template::load(root.join("template.yaml")).map_err(text)?;
    let template = template
        .with_parameter("Stage", "local")
        .with_parameter("LogLevel", &std::env::var("LOG_LEVEL").unwrap_or_else(|_| "INFO".to_owned()))
        .with_parameter("PublicUrl", base)
        .with_parameter("MailFrom", "tenantry@localhost.localdomain")
        .with_parameter("InboundDomain", "in.localhost.localdomain")
        .with_parameter("NewTenantDaily", "0")
        .with_parameter("WebhookAllowedHosts", &options.webhooks_allowed())
        .with_parameter("CorsOrigins", &options.cors_origin.join(","));
    let resolvers = options.resolver.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Ok(if resolvers.is_empty() { template } else { template.with_parameter("DnsResolvers", &resolvers) })
}

/// What the template says about the API. `--no-limits` also removes its throttle.
fn settings(template: &Template, options: &Options) -> Result<Settings, String> {
    let mut settings = Settings::of(template).map_err(text)?;
    let console = ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("http://{name}:{}", options.console_port));
    settings.console = Some(Cors::all_for(console.to_vec()));
    if options.no_limits {
        settings.throttle = Throttle::default();
    }
    Ok(settings)
}

fn environments(aws: &Aws, template: &Template, options: &Options) -> Result<BTreeMap<String, BTreeMap<String, String>>, String> {
    let mut environments = aws.function_environments(template).map_err(text)?;
    for environment in environments.values_mut() {
        if options.no_limits {
            environment.insert("RATE_LIMITS".to_owned(), "report".to_owned());
        }
        if let Ok(level) = std::env::var("LOG_DEPENDENCIES") {
            environment.insert("LOG_DEPENDENCIES".to_owned(), level);
        }
    }
    Ok(environments)
}

/// The key with which the edge proxies report.
async fn ingest_key(aws: &Aws, template: &Template) -> Result<Option<String>, String> {
    let secrets = template.secrets().map_err(text)?;
    let Some(secret) = secrets.into_iter().find(|secret| secret.logical_id == "IngestSecret") else { return Ok(None) };
    Ok(aws.secret_values().await.remove(&secret.name).flatten())
}

/// Keys come first, because nothing can be signed without them. Then each function is started once.
async fn prepare(template: &Template, api: &Api, functions: &Functions) -> Result<(), String> {
    for schedule in template.schedules().map_err(text)? {
        if schedule.input["task"] == "rotate-keys" {
            within_a_minute(&schedule.function, functions.invoke(&schedule.function, schedule.input)).await?;
        }
    }
    let mut first_calls = JoinSet::new();
    let mut started = std::collections::BTreeSet::new();
    for route in template.routes().map_err(text)? {
        if started.insert(route.function.clone()) {
            // Any answer is enough, and a path that needs credentials is refused quickly.
            let path = route.path.replace("{proxy+}", "-").replace("{slug}", "-").replace("{id}", "-").replace("$default", "/-");
            let (api, function) = (api.clone(), route.function);
            first_calls.spawn(async move { within_a_minute(&function, served(&api, &path)).await });
        }
    }
    let workers = template.stream_sources().map_err(text)?.into_iter().map(|source| source.function);
    let workers = workers.chain(template.queue_sources().map_err(text)?.into_iter().map(|source| source.function));
    for function in workers {
        if started.insert(function.clone()) {
            let functions = functions.clone();
            first_calls.spawn(async move { within_a_minute(&function, functions.invoke(&function, json!({ "Records": [] }))).await });
        }
    }
    while let Some(call) = first_calls.join_next().await {
        call.map_err(text)??;
    }
    Ok(())
}

/// Repeats until the function itself answers.
async fn served(api: &Api, path: &str) -> Result<Value, String> {
    loop {
        let (status, answer) = api.call(Method::GET, path, None).await?;
        if status != 503 {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn within_a_minute<E: std::fmt::Display>(function: &str, invocation: impl Future<Output = Result<Value, E>>) -> Result<(), String> {
    let answered = tokio::time::timeout(Duration::from_secs(60), invocation).await;
    answered
        .map_err(|_| format!("the function `{function}` did not answer within a minute; see its messages above"))?
        .map(drop)
        .map_err(text)
}

async fn free_port(port: u16, flag: &str) -> Result<TcpListener, String> {
    let deadline = tokio::time::Instant::now() + PORT_TIMEOUT;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return Ok(listener),
            Err(_) if tokio::time::Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                return Err(format!("port {port} is in use: stop what uses it, or choose another with {flag}"));
            }
            Err(error) => {
                return Err(format!("port {port} cannot be used: {error}; choose another with {flag}"));
            }
        }
    }
}

/// DynamoDB deletes expired items after some time, and so does this.
async fn sweep(aws: Aws, terminal: Terminal) {
    loop {
        tokio::time::sleep(TTL_SWEEP_EVERY).await;
        let aws = aws.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || aws.sweep_ttl()).await {
            terminal.trouble(None, &error.to_string());
        }
    }
}

fn print(said: &str) -> Result<(), String> {
    let mut output = std::io::stdout().lock();
    let printed = output.write_all(said.as_bytes()).and_then(|()| output.flush());
    printed.map_err(|error| format!("standard output is closed: {error}"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Ctrl-C, SIGTERM, or a closed terminal.
struct Stop {
    signals: Vec<tokio::signal::unix::Signal>,
}

impl Stop {
    fn listen() -> Result<Stop, String> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals = kinds.into_iter().map(signal).collect::<Result<_, _>>();
        Ok(Stop { signals: signals.map_err(|error| format!("signals cannot be received: {error}"))? })
    }

    async fn asked(&mut self) {
        let received = self.signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(received).await;
    }
}
