// Passkey buttons: ask the server for options, let the browser do its ceremony, hand the answer back.
// Everything else on the pages works without script.
"use strict";

const toBytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

class Told extends Error {}

async function post(path, body) {
  const token = document.querySelector('meta[name="csrf"]');
  const headers = { "Content-Type": "application/json", Accept: "application/json" };
  if (token) headers["X-CSRF-Token"] = token.content;
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body), credentials: "same-origin" });
  const told = await answer.json();
  if (!answer.ok) throw new Told(told.message);
  return told;
}

const credentials = (list) => (list || []).map((each) => ({ ...each, id: toBytes(each.id) }));

async function create(options) {
  const made = await navigator.credentials.create({
    publicKey: {
      ...options,
      challenge: toBytes(options.challenge),
      user: { ...options.user, id: toBytes(options.user.id) },
      excludeCredentials: credentials(options.excludeCredentials),
    },
  });
  return {
    id: made.id,
    rawId: toText(made.rawId),
    type: made.type,
    response: {
      clientDataJSON: toText(made.response.clientDataJSON),
      attestationObject: toText(made.response.attestationObject),
    },
  };
}

async function get(options) {
  const made = await navigator.credentials.get({
    publicKey: {
      ...options,
      challenge: toBytes(options.challenge),
      allowCredentials: credentials(options.allowCredentials),
    },
  });
  const { clientDataJSON, authenticatorData, signature, userHandle } = made.response;
  return {
    id: made.id,
    type: made.type,
    response: {
      clientDataJSON: toText(clientDataJSON),
      authenticatorData: toText(authenticatorData),
      signature: toText(signature),
      userHandle: userHandle && userHandle.byteLength ? toText(userHandle) : null,
    },
  };
}

const ceremonies = {
  login: { path: "/portal/login", ask: () => ({}), answer: get, more: () => ({}) },
  register: {
    path: "/portal/passkeys",
    ask: () => ({}),
    answer: create,
    more: (button) => ({ label: document.getElementById(button.dataset.label).value.trim() || "passkey" }),
  },
  sign: {
    path: "/portal/sign",
    ask: (button) => ({ act: button.dataset.act, consent: button.dataset.consent }),
    answer: get,
    more: () => ({}),
  },
  own: {
    path: "/portal/own/sign",
    ask: (button) => ({ act: button.dataset.act, consent: button.dataset.consent }),
    answer: get,
    more: () => ({}),
  },
  training: { path: "/portal/usage/training", ask: () => ({}), answer: get, more: () => ({}) },
};

async function run(button) {
  const say = document.getElementById(`${button.id}-say`);
  const tell = (text, bad) => {
    say.textContent = text;
    say.classList.toggle("say-bad", Boolean(bad));
  };
  if (!window.PublicKeyCredential) return tell(button.dataset.unsupported, true);
  const ceremony = ceremonies[button.dataset.passkey];
  const buttons = document.querySelectorAll("[data-passkey]");
  buttons.forEach((each) => (each.disabled = true));
  tell(button.dataset.working);
  try {
    const started = await post(`${ceremony.path}/start`, ceremony.ask(button));
    const credential = await ceremony.answer(started.options);
    const done = await post(`${ceremony.path}/finish`, {
      ceremony: started.ceremony,
      credential,
      ...ceremony.more(button),
    });
    if (done.html === undefined) return window.location.assign(done.next);
    // what the server made of its own template: every value in it is escaped there
    const place = document.getElementById(button.dataset.into);
    place.innerHTML = done.html;
    place.focus();
    tell("");
    buttons.forEach((each) => (each.disabled = false));
  } catch (error) {
    buttons.forEach((each) => (each.disabled = false));
    if (error instanceof Told) tell(error.message, true);
    else if (error instanceof DOMException) tell(button.dataset.cancelled, true);
    else tell(button.dataset.offline, true);
    button.focus();
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-passkey]");
  if (button) run(button);
});
