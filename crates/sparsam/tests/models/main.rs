//! Every model: against a slow restatement of its equations, and its gradients against finite differences in double
//! precision. One file a model.

#[path = "../common/mod.rs"]
mod common;

mod controllers;
mod dnc;

mod dam;
mod lstm;
mod ntm;
mod sam;
mod sdnc;
mod tokens;
