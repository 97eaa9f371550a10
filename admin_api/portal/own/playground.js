"use strict";
// The playground: shows an answer as it comes. Without this file the form brings the page with the whole answer. What a
// model has written goes into the page as text, never as HTML.
(() => {
  const byId = (id) => document.getElementById(id);
  const form = byId("playground");
  const texts = byId("playground-texts").dataset;
  const copyOf = (id) => byId(id).content.firstElementChild.cloneNode(true);
  const field = (name) => form.elements.namedItem(name);
  let running = null;

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running === null) send();
  });
  byId("stop").addEventListener("click", () => running?.abort());
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") running?.abort();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.contains(event.target)) form.requestSubmit();
  });

  async function send() {
    const prompt = field("prompt").value.trim();
    const body = new URLSearchParams(new FormData(form));
    const call = new AbortController();
    let turn = null;
    const end = () => {
      if (running !== call) return;
      running = null;
      show({ isRunning: false });
      if (turn !== null) keep(prompt, turn.textContent);
    };
    running = call;
    show({ isRunning: true });
    byId("refusal").replaceChildren();
    try {
      const answer = await fetch("/playground/stream", { method: "POST", body, signal: call.signal });
      const type = answer.headers.get("content-type") ?? "";
      if (answer.ok && type.startsWith("text/event-stream")) {
        turn = beginTurn(prompt);
        await read(answer.body, turn, end);
        if (running === call) throw new Error("it broke off");
      } else if (type.startsWith("application/json")) {
        refuse((await answer.json()).error);
      } else {
        // The page says what is wrong: beside its field, or after a new login.
        form.submit();
      }
    } catch (error) {
      if (running !== call) return;
      if (error.name === "AbortError") announce(texts.stopped);
      else refuse({ message: error.said ?? texts.broken, request_id: error.requestId });
    } finally {
      end();
    }
  }

  // Pieces of the answer go into `turn`; `end` is called once it is complete, before the figures of the call are there.
  async function read(stream, turn, end) {
    for await (const [kind, data] of events(stream)) {
      if (kind === "litemaas") {
        showCall(JSON.parse(data));
      } else if (data === "[DONE]") {
        announce(turn.textContent || texts.done);
        end();
      } else {
        const { choices, error } = JSON.parse(data);
        if (error) throw Object.assign(new Error(), { said: error.message, requestId: error.request_id });
        turn.append(choices?.[0]?.delta?.content ?? "");
      }
    }
  }

  // Server-sent events as [kind, data], by https://html.spec.whatwg.org/multipage/server-sent-events.html.
  async function* events(stream) {
    const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
    let buffer = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (buffer + value).replaceAll("\r\n", "\n").split("\n\n");
      buffer = parts.pop();
      for (const part of parts) {
        const lines = part.split("\n");
        const valuesOf = (name) => lines.filter((line) => line.startsWith(name)).map((line) => line.slice(name.length).trimStart());
        const data = valuesOf("data:").join("\n");
        if (data) yield [valuesOf("event:")[0] ?? "message", data];
      }
    }
  }

  // The person's message, and the place of the answer, which is returned.
  function beginTurn(prompt) {
    const [own, answer] = [copyOf("turn-of-user"), copyOf("turn-of-assistant")];
    own.querySelector(".litemaas-turn-text").textContent = prompt;
    byId("conversation").append(own, answer);
    answer.scrollIntoView({ block: "nearest" });
    field("prompt").value = "";
    announce(texts.began);
    return answer.querySelector(".litemaas-turn-text");
  }

  // What the model said goes on in the next call, also where it was stopped.
  function keep(prompt, text) {
    const messages = JSON.parse(field("conversation").value);
    if (text) messages.push(["user", prompt], ["assistant", text]);
    else field("prompt").value ||= prompt;
    field("conversation").value = JSON.stringify(messages);
    field("prompt").focus();
  }

  function show({ isRunning }) {
    byId("send").disabled = isRunning;
    byId("stop-part").hidden = !isRunning;
    byId("conversation").setAttribute("aria-busy", String(isRunning));
  }

  function refuse({ message, request_id: requestId }) {
    const alert = copyOf("refusal-alert");
    alert.querySelector(".pf-v6-c-alert__title").append(message);
    byId("refusal").replaceChildren(alert);
    if (requestId) {
      const link = Object.assign(document.createElement("a"), {
        href: `/refusals?request_id=${encodeURIComponent(requestId)}`,
        textContent: byId("refusal").dataset.lookUp,
      });
      byId("refusal").append(link, ` ${requestId}`);
    }
    field("prompt").focus();
  }

  function showCall({ figures, snippets }) {
    const list = copyOf("figure-list");
    for (const [term, text] of figures) {
      const group = copyOf("figure");
      group.querySelector("dt").firstElementChild.textContent = term;
      group.querySelector("dd").firstElementChild.textContent = text;
      list.append(group);
    }
    byId("figures").replaceChildren(list);
    for (const [client, code] of Object.entries(snippets)) byId(`${client}-code-text`).textContent = code;
  }
})();
