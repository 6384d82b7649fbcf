//! scratch
#![allow(warnings)]
use safe_onnx::compress::*; use safe_onnx::engine::*; use safe_onnx::data::DataOptions;
use std::sync::atomic::AtomicBool;
struct P;
impl Observer for P { fn event(&mut self, e: Event) { match e { Event::Step(..)=>{}, Event::Note(n)=>eprintln!("note {n}"), Event::Stage(n)=>eprintln!("stage {n}"), Event::Epoch(x)=>eprintln!("{x:?}"), _=>{} } } }
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let get = |k: &str| a.iter().position(|x| x == k).map(|i| a[i+1].clone());
    let num = |k: &str| get(k).map(|v| v.parse::<f64>().unwrap());
    let plan = Plan { model: a[1].clone().into(), output: get("-o").unwrap_or("/tmp/w/out.onnx".into()).into(), data: get("--data").map(Into::into), val: get("--val").map(Into::into),
        data_options: DataOptions { mean: vec![0.2860], std: vec![0.3530], augment: get("--augment").unwrap_or("flip,shift=2".into()).parse().unwrap(), ..Default::default() },
        target: Target { quantity: Quantity::Macs, share: num("--macs").unwrap_or(0.5) }, method: if get("--method").as_deref()==Some("magnitude") {Method::Magnitude} else {Method::Safe},
        training: Training { epochs: num("--epochs").map(|x| x as usize), batch: num("--batch").map(|x| x as usize), learning_rate: num("--lr"), radius: num("--rho"), penalty: num("--lambda"), weight_decay: num("--wd"), optimizer: get("--opt").map(|o| if o=="adam" {Optimizer::Adam} else {Optimizer::Sgd}), ..Default::default() },
        loss: match get("--loss").as_deref() {Some("ce")=>LossChoice::CrossEntropy, Some("distill")=>LossChoice::Distill, _=>LossChoice::Auto}, exclude: vec![], round_to: 1, seed: num("--seed").unwrap_or(0.0) as u64,
        discovery: Discovery { engine: if get("--engine").as_deref()==Some("tract") {Choice::Tract} else {Choice::Ort}, ..Default::default() }, load: LoadOptions::default(), shapes: vec![], emit_masked: get("--masked").map(Into::into), verify: true, force: true };
    match compress(&plan, &mut P, &AtomicBool::new(false)) { Ok(r) => println!("{}", serde_json::to_string_pretty(&{let mut r=r; r.history.clear(); r}).unwrap()), Err(e) => { eprintln!("ERROR {e}"); std::process::exit(2) } }
}
