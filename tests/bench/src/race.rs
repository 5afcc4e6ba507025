//! Cold and warm starts, all contenders in turn in one run, so that other work of the machine affects all equally.
use std::path::Path;

use serde::Serialize;

use crate::{
    Outcome,
    contenders::Contender,
    process::Instance,
    statistics::{Summary, milliseconds},
    throttle::Throttle,
};

#[derive(Default)]
struct Samples {
    init: Vec<f64>,
    first: Vec<f64>,
    cold: Vec<f64>,
    init_cpu: Vec<f64>,
    cold_cpu: Vec<f64>,
    warm: Vec<f64>,
    warm_cpu: Vec<f64>,
    memory: Vec<f64>,
}

/// Milliseconds, CPU-milliseconds and megabytes of one contender.
#[derive(Serialize, Clone)]
pub struct Standing {
    pub name: String,
    pub init: Summary,
    pub first: Summary,
    pub cold: Summary,
    pub init_cpu: Summary,
    pub cold_cpu: Summary,
    pub warm: Summary,
    pub warm_cpu: Summary,
    pub memory: Summary,
    pub zip_bytes: usize,
}

pub struct Course<'a> {
    pub rounds: usize,
    pub cold: usize,
    pub warm: usize,
    pub event: &'a str,
    pub logs: &'a Path,
    /// Limited to the CPU share of this many megabytes from the first request for an event on. The start is not throttled, as on Lambda.
    pub megabytes: Option<u64>,
}

pub async fn run(contenders: &[Contender], course: &Course<'_>) -> Outcome<Vec<Standing>> {
    let mut samples: Vec<Samples> = contenders.iter().map(|_| Samples::default()).collect();
    for round in 0..course.rounds {
        for start in 0..course.cold {
            for turn in 0..contenders.len() {
                // Each contender takes every position in the order.
                let index = (turn + round + start) % contenders.len();
                lap(&contenders[index], course, &mut samples[index]).await?;
            }
        }
    }
    Ok(contenders.iter().zip(&samples).map(|(contender, samples)| samples.standing(contender)).collect())
}

async fn lap(contender: &Contender, course: &Course<'_>, samples: &mut Samples) -> Outcome<()> {
    let mut instance = Instance::start(&contender.program, course.logs).await?;
    let init_cpu = instance.cpu().await?;
    // A separate group, so that the remaining work of the last process does not count for this one.
    let throttle = course.megabytes.map(Throttle::create).transpose()?;
    if let Some(throttle) = &throttle {
        throttle.hold(instance.id)?;
    }
    let first = instance.request(course.event).await?.took;
    let cold_cpu = instance.cpu().await?;
    for _ in 0..course.warm {
        samples.warm.push(milliseconds(instance.request(course.event).await?.took));
    }
    let warm_cpu = (instance.cpu().await? - cold_cpu) / course.warm as u32;
    samples.init.push(milliseconds(instance.init));
    samples.first.push(milliseconds(first));
    samples.cold.push(milliseconds(instance.init + first));
    samples.init_cpu.push(milliseconds(init_cpu));
    samples.cold_cpu.push(milliseconds(cold_cpu));
    samples.warm_cpu.push(milliseconds(warm_cpu));
    samples.memory.push(instance.peak_memory()?);
    instance.stop().await
}

impl Samples {
    fn standing(&self, contender: &Contender) -> Standing {
        Standing {
            name: contender.name.to_owned(),
            init: Summary::of(&self.init),
            first: Summary::of(&self.first),
            cold: Summary::of(&self.cold),
            init_cpu: Summary::of(&self.init_cpu),
            cold_cpu: Summary::of(&self.cold_cpu),
            warm: Summary::of(&self.warm),
            warm_cpu: Summary::of(&self.warm_cpu),
            memory: Summary::of(&self.memory),
            zip_bytes: contender.zip_bytes,
        }
    }
}
