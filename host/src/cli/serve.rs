//! `spindle serve`: listen, load, serve, drain.
//!
//! The address is taken first, so that a port in use is known at once, and connections are
//! accepted while the model loads: probes answer, everything else hears that it has to wait.

use std::sync::Arc;

use http::StatusCode;
use spindle_runtime::{Guest, Precompiled, Runtime};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use super::{ServeFlags, chat};
use crate::health::Health;
use crate::inference::{Engine, Started};
use crate::model::{self, Facts};
use crate::request::Requests;
use crate::settings::{self, ChatTemplate, ServeSettings};
use crate::{Error, embedded, logging, server, sizes};

/// Runs the server until it is told to stop.
pub fn serve(flags: &ServeFlags) -> Result<(), Error> {
    let settings = settings::serve(flags)?;
    let runtime = super::runtime()?;
    let result = runtime.block_on(serve_until_stopped(settings));
    // A model that is still being loaded need not be waited for.
    runtime.shutdown_background();
    result
}

async fn serve_until_stopped(settings: ServeSettings) -> Result<(), Error> {
    server::raise_file_limit();
    let listener = server::bind(settings.listen).await?;
    let stop = stop_signals()?;
    let health = Health::default();
    let engine = Arc::new(Engine::default());
    let requests = requests(&settings, engine.clone(), health.clone())?;
    let line = Startup::new(&settings, &listener)?;
    let api = requests.api.clone();
    let own_template = settings.model.chat_template != ChatTemplate::Model;
    let model_id = settings.model.id.clone();
    let serving = server::run(listener, requests, settings.server.clone(), stop.notified());
    let inference = async {
        let loaded = model::load_aside(settings.model).await?;
        let facts = loaded.facts.clone();
        let started = engine.start(loaded, &health)?;
        if own_template {
            try_template(&api, &model_id).await?;
        }
        line.print(&facts, &started);
        let cause = started
            .gave_up
            .await
            .unwrap_or_else(|_| "the thread is gone".to_owned());
        Err(Error::Inference(cause))
    };
    tokio::select! {
        () = serving => Ok(()),
        result = inference => result,
    }
}

/// A template that the operator gave is tried before the address is announced: one that cannot be rendered would fail
/// every chat. One that refuses this very chat, as some do without instructions, may be right for others.
async fn try_template(api: &Guest, model: &str) -> Result<(), Error> {
    let response = chat::ask(api, "template", &chat::smallest(model)).await?;
    if response.status() != StatusCode::INTERNAL_SERVER_ERROR {
        return Ok(());
    }
    Err(Error::Config {
        what: format!("--chat-template: {}", chat::refusal(response).await),
        hint: "mend the template, or leave it out for the model's own".into(),
    })
}

fn requests(
    settings: &ServeSettings,
    engine: Arc<Engine>,
    health: Health,
) -> Result<Arc<Requests>, Error> {
    let broken = |error| Error::Runtime(format!("{error:#}"));
    let runtime =
        Runtime::new(settings.limits.clone(), engine, settings.api.clone()).map_err(broken)?;
    let api = runtime
        .mount(&Precompiled::embedded(embedded::API))
        .map_err(broken)?;
    let mounts = settings.test_guests.iter().map(|(prefix, file)| {
        Ok((
            prefix.clone(),
            runtime
                .mount(&Precompiled::from_file(file))
                .map_err(broken)?,
        ))
    });
    Ok(Arc::new(Requests {
        api,
        mounts: mounts.collect::<Result<_, Error>>()?,
        keys: settings.keys.clone(),
        places: Arc::new(Semaphore::new(settings.limits.instances_max as usize)),
        health,
        cors_origin: settings.cors_origin.clone(),
        tracker: TaskTracker::new(),
    }))
}

/// Notified by the first SIGTERM or ctrl-c. The second ctrl-c ends the program where it stands.
fn stop_signals() -> Result<Arc<Notify>, Error> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    tokio::spawn(async move {
        let by_hand = tokio::select! {
            _ = interrupt.recv() => true,
            _ = terminate.recv() => false,
        };
        if by_hand {
            logging::say(format_args!(
                "finishing what is in progress; ctrl-c again quits at once"
            ));
        }
        stopped.notify_one();
        interrupt.recv().await;
        std::process::exit(i32::from(crate::ExitCode::Interrupted as u8));
    });
    Ok(stop)
}

/// What is said once requests are served.
struct Startup {
    base: String,
    model: String,
    /// Tokens that the operator asked for.
    context_asked: Option<usize>,
    key: bool,
}

impl Startup {
    fn new(settings: &ServeSettings, listener: &TcpListener) -> Result<Self, Error> {
        let mut address = listener.local_addr()?;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        Ok(Self {
            base: format!("http://{address}"),
            model: settings.model.id.clone(),
            context_asked: settings.model.context_len,
            key: !settings.keys.is_empty(),
        })
    }

    fn print(&self, facts: &Facts, started: &Started) {
        let Self { base, model, .. } = self;
        let key = if self.key {
            " -H \"Authorization: Bearer $SPINDLE_API_KEY\""
        } else {
            ""
        };
        logging::say(format_args!(
            "spindle {} is listening on {base}",
            env!("CARGO_PKG_VERSION")
        ));
        let template = if facts.has_template {
            ""
        } else {
            ", chats in ChatML for want of a template"
        };
        let context_len = started.context_len;
        // The model's own limit, or what the memory for keys and values holds.
        let less = self
            .context_asked
            .filter(|asked| *asked > context_len as usize)
            .map_or_else(String::new, |asked| format!(" instead of {asked}"));
        logging::say(format_args!(
            "  model    {model} ({}), context {context_len} tokens{less}{template}",
            facts.architecture
        ));
        logging::say(format_args!(
            "  compute  {}, {} threads",
            facts.isa, facts.threads
        ));
        logging::say(format_args!(
            "  memory   weights {} ({}), keys and values up to {}",
            sizes::display(facts.weight_bytes),
            facts.held,
            sizes::display(started.kv_bytes)
        ));
        logging::say(format_args!(
            "  try      curl {base}/v1/chat/completions -H 'Content-Type: application/json'{key} \
             -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Who are you?\"}}]}}'"
        ));
    }
}
