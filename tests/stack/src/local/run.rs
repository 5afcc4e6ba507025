//! The order of things: claim, embed, build, start, prepare, say ready, play, stop.

use std::{
    collections::BTreeMap,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
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
    gateway::access::AccessLog,
    sources::{HttpInvoke, Invoke, Sources},
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
    tools,
    watch::{self as functions, Watch},
    workspace,
};

/// A predecessor that was killed needs a moment until its functions have let go of the port.
const PORT_PATIENCE: Duration = Duration::from_secs(4);

const TTL_SWEEP_EVERY: Duration = Duration::from_secs(60);

pub async fn run(options: Options) -> Result<(), String> {
    let mut stop = Stop::listen()?;
    tokio::select! {
        // First: Ctrl-C reaches a running build too, whose failure is then no news.
        biased;
        // What was started so far hangs on the future that is dropped here.
        () = stop.asked() => Ok(()),
        outcome = start(&options) => match outcome {
            Ok(running) => running.until(stop).await,
            Err(error) => Err(error),
        },
    }
}

async fn start(options: &Options) -> Result<Running, String> {
    if options.port == options.console_port {
        return Err(format!("the API and the console cannot both have port {}", options.port));
    }
    let root = workspace::find()?;
    let base = format!("http://127.0.0.1:{}", options.port);
    let api_address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let directory = options.data.clone().unwrap_or_else(|| root.join(".local").join("data"));
    let lock = match options.memory {
        true => None,
        false => Some(workspace::claim(&directory)?),
    };
    let console_listener = free_port(options.console_port, "--console-port").await?;
    drop(free_port(options.port, "--port").await?);

    let template = local_template(&root, &base)?;
    let functions_declared = template.functions().map_err(text)?;
    let cargo_lambda = tools::cargo_lambda(&root)?;

    let storage = match options.memory {
        true => Storage::Memory,
        false => Storage::Disk(directory),
    };
    let aws = Aws::start(storage).map_err(text)?;
    aws.create(&template).await.map_err(text)?;
    let access = AccessLog::new();
    let tables = template.tables().map_err(text)?.into_iter().map(|table| table.name).collect();
    let console = Console::new(aws.clone(), access, &base, root.join("openapi.json"), tables);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        if let Err(error) = axum::serve(console_listener, console.router()).await {
            eprintln!("cargo local: the console stopped: {error}");
        }
    });

    eprintln!("cargo local: building the functions");
    functions::build(&root, &functions_declared, options.release).await?;
    let environment = shared_environment(&aws, &template, options)?;
    let mut watch = Watch::start(&cargo_lambda, &root, options.port, options.release, &environment)?;
    watch.listening(api_address).await?;

    let api = Api::new(&base);
    let invoke = Arc::new(HttpInvoke::new(&base).with_timeouts(&functions_declared));
    tokio::select! {
        prepared = prepare(&template, &api, &invoke) => prepared?,
        ended = watch.ended() => return Err(ended),
    }
    let (stop_sources, stopped) = watch::channel(false);
    let sources = Sources::new(&template, &aws, invoke).map_err(text)?;
    tasks.spawn(Arc::new(sources).run(stopped, |message| eprintln!("cargo local: {message}")));
    tasks.spawn(sweep(aws.clone()));

    let demo = demo::seed(&api, aws.journal()).await;
    let mut said = format!("ready {base}\n");
    match demo {
        Ok(demo) => said.push_str(&demo.usage(&base)),
        Err(error) => eprintln!("cargo local: there is no demo tenant: {error}"),
    }
    eprintln!("cargo local: console on http://127.0.0.1:{}", options.console_port);
    print(&said)?;
    Ok(Running { watch, stop_sources, _tasks: tasks, _aws: aws, _lock: lock })
}

struct Running {
    watch: Watch,
    stop_sources: watch::Sender<bool>,
    _tasks: JoinSet<()>,
    _aws: Aws,
    _lock: Option<workspace::DataLock>,
}

impl Running {
    async fn until(mut self, mut stop: Stop) -> Result<(), String> {
        let outcome = tokio::select! {
            () = stop.asked() => Ok(()),
            ended = self.watch.ended() => Err(ended),
        };
        eprintln!("cargo local: stopping");
        self.stop_sources.send_replace(true);
        self.watch.stop().await;
        outcome
    }
}

fn local_template(root: &Path, base: &str) -> Result<Template, String> {
    let template = Template::load(root.join("template.yaml")).map_err(text)?;
    Ok(template
        .with_parameter("Stage", "local")
        .with_parameter("LogLevel", &std::env::var("LOG_LEVEL").unwrap_or_else(|_| "INFO".to_owned()))
        .with_parameter("PublicUrl", base)
        .with_parameter("MailFrom", "tenantry@localhost.localdomain"))
}

/// `cargo lambda watch` has one environment for all functions, so theirs must not contradict each other.
fn shared_environment(aws: &Aws, template: &Template, options: &Options) -> Result<BTreeMap<String, String>, String> {
    let mut shared = BTreeMap::new();
    for (function, environment) in aws.function_environments(template).map_err(text)? {
        for (name, value) in environment {
            if let Some(other) = shared.insert(name.clone(), value.clone())
                && other != value
            {
                return Err(format!(
                    "template.yaml gives {name} as `{value}` to {function} and as `{other}` to another function, which one local environment cannot hold"
                ));
            }
        }
    }
    if options.no_limits {
        shared.insert("RATE_LIMITS".to_owned(), "report".to_owned());
    }
    Ok(shared)
}

/// Keys first, for nothing can be signed without; then each function is started once.
async fn prepare(template: &Template, api: &Api, invoke: &HttpInvoke) -> Result<(), String> {
    for schedule in template.schedules().map_err(text)? {
        if schedule.input["task"] == "rotate-keys" {
            within_a_minute(&schedule.function, invoke.invoke(&schedule.function, schedule.input)).await?;
        }
    }
    let mut first_calls = JoinSet::new();
    let mut started = std::collections::BTreeSet::new();
    for route in template.routes().map_err(text)? {
        if started.insert(route.function.clone()) {
            // Any answer will do; a path that needs credentials is refused quickly.
            let path = route.path.replace("{proxy+}", "-").replace("$default", "/-");
            api.call(Method::GET, &path, None).await?;
        }
    }
    let workers = template.stream_sources().map_err(text)?.into_iter().map(|source| source.function);
    let workers = workers.chain(template.queue_sources().map_err(text)?.into_iter().map(|source| source.function));
    for function in workers {
        if started.insert(function.clone()) {
            let invoke = invoke.clone();
            first_calls.spawn(async move { within_a_minute(&function, invoke.invoke(&function, json!({ "Records": [] }))).await });
        }
    }
    while let Some(call) = first_calls.join_next().await {
        call.map_err(text)??;
    }
    Ok(())
}

async fn within_a_minute<E: std::fmt::Display>(function: &str, invocation: impl Future<Output = Result<Value, E>>) -> Result<(), String> {
    let answered = tokio::time::timeout(Duration::from_secs(60), invocation).await;
    answered
        .map_err(|_| format!("the function `{function}` did not answer within a minute; see its messages above"))?
        .map(drop)
        .map_err(text)
}

async fn free_port(port: u16, flag: &str) -> Result<TcpListener, String> {
    let deadline = tokio::time::Instant::now() + PORT_PATIENCE;
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

/// DynamoDB deletes what has expired some time later; so does this.
async fn sweep(aws: Aws) {
    loop {
        tokio::time::sleep(TTL_SWEEP_EVERY).await;
        let aws = aws.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || aws.sweep_ttl()).await {
            eprintln!("cargo local: {error}");
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

/// Ctrl-C, SIGTERM, or the terminal going away.
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
