//! `cargo bench-ratios`: the real `projects` function compared with four contenders doing the same work, what sending a campaign takes, and what accepting a
//! message to a phone takes, in one run on one machine.
mod arguments;
mod certificates;
mod contenders;
mod engine;
mod events;
mod fixture;
mod guards;
mod keys;
mod lists;
mod messages;
mod operations;
mod process;
mod proxy;
mod race;
mod report;
mod statistics;
mod stub;
mod table;
mod tally;
mod throttle;
mod world;

use std::{error::Error, fs, process::ExitCode};

use crate::{
    arguments::Arguments, certificates::Trust, contenders::Places, fixture::Fixture, race::Course, report::Report, throttle::Throttle,
    world::World,
};

pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// With a throttled share every warm request waits for CPU, so a few requests are enough.
const THROTTLED_WARM: usize = 10;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::read();
    match bench(&arguments).await {
        Ok(report) if arguments.gate && !report.failures().is_empty() => {
            eprintln!("bench: {} of the gated targets were missed", report.failures().len());
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn bench(arguments: &Arguments) -> Outcome<Report> {
    let places = Places::find()?;
    let mut report = Report {
        cores: std::thread::available_parallelism()?.get(),
        load_before: String::new(),
        load_after: String::new(),
        rounds: arguments.rounds,
        cold_starts_a_round: arguments.cold,
        warm_requests: arguments.warm,
        system_roots: 0,
        product_roots: 0,
        standings: vec![],
        throttled: None,
        operations: None,
        lists: vec![],
        engine: None,
        messages: None,
        guards: vec![],
        checks: vec![],
        not_measured: vec![],
    };
    if arguments.wants("guards") {
        report.guards = guards::dependency_trees(&places)?;
    }
    if arguments.needs_world() {
        run(arguments, &places, &mut report).await?;
    }
    report.judge();
    print!("{}", report.text());
    let path = arguments.json.clone().unwrap_or_else(|| places.output.join("ratios.json"));
    fs::write(&path, serde_json::to_string_pretty(&report)?)?;
    println!("written to {}", path.display());
    Ok(report)
}

async fn run(arguments: &Arguments, places: &Places, report: &mut Report) -> Outcome<()> {
    let trust = Trust::create(&places.output.join("trust"))?;
    (report.system_roots, report.product_roots) = (trust.system_roots, trust.product_roots);
    let world = World::start(places, &trust).await?;
    let logs = places.logs();
    fs::remove_dir_all(&logs)?;
    fs::create_dir_all(&logs)?;

    // The product is always built, because it creates the tenant and shows the calls that the others repeat.
    let mut field = Vec::new();
    for name in contenders::NAMES.into_iter().filter(|name| *name == "ours" || arguments.wants(name)) {
        eprintln!("building {name}");
        let mut contender = contenders::build(name, places, &trust)?;
        contender.program = world.place(contender.program, "projects");
        field.push(contender);
    }
    let fixture = Fixture::create(&world, places, &trust, &field[0]).await?;
    for contender in &mut field[1..] {
        contender.program.environment.extend(fixture.contender_environment.clone());
    }

    report.not_measured.push("B14: init CPU without warm-up; the function always warms up, and the table shows init with it".to_owned());
    report.load_before = load()?;
    if arguments.wants("operations") {
        eprintln!("counting units of every operation");
        let counted = operations::measure(&world, &fixture, &field[0], &logs).await?;
        let openapi = fs::read_to_string(places.root.join("openapi.json")).map_err(|error| format!("openapi.json: {error}"))?;
        let uncounted = operations::uncounted(&serde_json::from_str(&openapi)?, &counted.operations);
        if !uncounted.is_empty() {
            return Err(
                format!("routes without hand-computed minimum units in tests/bench/src/operations.rs: {}", uncounted.join(", ")).into()
            );
        }
        report.operations = Some(counted);
    }
    let ours = field.remove(0);
    if arguments.wants("ours") {
        field.insert(0, ours.clone());
    }
    if !field.is_empty() {
        let event = fixture.ask().event();
        let mut course =
            Course { rounds: arguments.rounds, cold: arguments.cold, warm: arguments.warm, event: &event, logs: &logs, megabytes: None };
        eprintln!("racing at full CPU");
        report.standings = race::run(&field, &course).await?;
        match Throttle::create(128) {
            Ok(_) => {
                eprintln!("racing at the CPU share of 128 MB");
                (course.megabytes, course.warm) = (Some(128), THROTTLED_WARM);
                report.throttled = Some(race::run(&field, &course).await?);
            }
            Err(error) => report.not_measured.push(format!("B9: no control group can be made here ({error})")),
        }
    }
    if arguments.wants("lists") {
        eprintln!("loading lists of up to {} items", arguments.list_max);
        report.lists = lists::measure(&world, &fixture, &ours, &logs, arguments.list_max).await?;
    }
    if arguments.wants("engine") {
        eprintln!("sending a campaign, and planning one to {} leads", arguments.leads);
        let (engine, lists) = engine::measure(&world, places, &trust, &fixture, arguments.leads).await?;
        report.lists.extend(lists);
        report.engine = Some(engine);
    }
    if arguments.wants("messages") {
        eprintln!("accepting messages to phones");
        report.messages = Some(messages::measure(&world, places, &trust, &fixture).await?);
    }
    report.load_after = load()?;
    Ok(())
}

fn load() -> Outcome<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}
