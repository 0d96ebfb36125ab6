// Sends files one after the other to the studio's own route, and tells the page the id of the job that reads each.
// What is on its way lives as long as the tab: another page of the studio may be looked at meanwhile.

const MIB = 2 ** 20
const boxes = (window.studioUploadBoxes ??= new Map())

export default function ({ data, parentElement, setTriggerValue }) {
  const box = boxes.get(data.key) ?? { waiting: [], current: null, refusals: [], untold: [] }
  boxes.set(data.key, box)
  Object.assign(box, { data, root: parentElement, draw: () => draw(box), tell: job => setTriggerValue("job", job) })
  const find = name => parentElement.querySelector(name)
  const [zone, input] = [find(".zone"), find("input")]
  find(".choose").onclick = () => input.click()
  input.onchange = () => {
    add(box, input.files)
    input.value = ""
  }
  zone.ondragover = event => {
    event.preventDefault()
    zone.classList.toggle("over", !data.off)
  }
  zone.ondragleave = () => zone.classList.remove("over")
  zone.ondrop = event => {
    event.preventDefault()
    zone.classList.remove("over")
    add(box, event.dataTransfer.files)
  }
  box.draw()
  for (const job of box.untold.splice(0)) box.tell(job)
  return () => {
    if (box.root === parentElement) box.root = null
  }
}

function add(box, files) {
  if (box.data.off) return
  box.refusals = []
  box.waiting.push(...files)
  sendNext(box)
}

async function sendNext(box) {
  if (box.current || !box.waiting.length) return box.draw()
  const file = box.waiting.shift()
  const current = { file, sent: 0, began: performance.now(), request: new XMLHttpRequest(), gone: false }
  box.current = current
  box.draw()
  window.addEventListener("beforeunload", askToStay)
  const query = new URLSearchParams({ name: file.name, wanted: box.data.wanted, size: file.size })
  const address = new URL(`${box.data.address}?${query}`, document.baseURI)
  const refusal = await whyNot(address)
  const answer = current.gone ? {} : refusal ? { sentence: refusal } : await send(box, current, address)
  window.removeEventListener("beforeunload", askToStay)
  box.current = null
  if (answer.sentence) box.refusals.push(answer.sentence)
  if (answer.job) box.root ? box.tell(answer.job) : box.untold.push(answer.job)
  sendNext(box)
}

// A file that is refused need not be sent first: the answer to a question comes through, where that to a body may not.
async function whyNot(address) {
  try {
    const answer = await fetch(address)
    return sentenceIn(await answer.text())
  } catch {
    return "The studio does not answer. Is it still running?"
  }
}

function send(box, current, address) {
  const { request, file } = current
  current.began = performance.now()
  return new Promise(resolve => {
    const broke = () => `The connection broke after ${mib(current.sent)} of ${size(file.size)}. Choose ${file.name} again.`
    request.upload.onprogress = event => {
      current.sent = event.loaded
      box.draw()
    }
    request.onload = () =>
      resolve(request.status === 200 ? JSON.parse(request.responseText) : { sentence: sentenceIn(request.responseText) })
    request.onerror = () => resolve({ sentence: broke() })
    request.onabort = () => resolve({})
    request.open("POST", address)
    request.setRequestHeader("X-Xsrftoken", cookie("_streamlit_xsrf"))
    request.send(file)
  })
}

function cancel(box, current) {
  current.gone = true
  current.request.abort()
  say(box, `${current.file.name} was cancelled.`)
}

function draw(box) {
  if (!box.root) return
  const find = name => box.root.querySelector(name)
  find(".what").textContent = box.data.what
  find(".limits").textContent = box.data.off || box.data.limits
  find(".choose").disabled = Boolean(box.data.off)
  drawFiles(box, find(".files"))
  const refusals = find(".refusals")
  if (refusals.textContent !== box.refusals.map(each => each + "Close").join("")) {
    refusals.replaceChildren(...box.refusals.map(each => refusalRow(box, each)))
  }
}

// A row stays the same element while its file is on its way, so that Cancel keeps the focus.
function drawFiles(box, list) {
  const shown = box.current ? [box.current.file, ...box.waiting] : box.waiting
  const rows = new Map([...list.children].map(row => [row.file, row]))
  const wanted = shown.map(file => rows.get(file) ?? fileRow(box, file))
  if (wanted.length !== list.children.length || wanted.some((row, at) => row !== list.children[at])) {
    list.replaceChildren(...wanted)
  }
  for (const row of wanted) drawProgress(row, box.current?.file === row.file ? box.current : null)
}

function fileRow(box, file) {
  const row = element("li", "")
  row.file = file
  const stop = element("button", "", "Cancel")
  stop.type = "button"
  stop.setAttribute("aria-label", `Cancel ${file.name}`)
  stop.onclick = () => {
    if (box.current?.file === file) return cancel(box, box.current)
    box.waiting = box.waiting.filter(each => each !== file)
    box.draw()
  }
  const words = element("div", "")
  words.append(element("div", "name", file.name), element("div", "left"))
  const bar = element("div", "bar")
  bar.append(element("div", ""))
  bar.setAttribute("role", "progressbar")
  bar.setAttribute("aria-label", file.name)
  row.append(words, stop, bar)
  return row
}

function drawProgress(row, current) {
  const share = current && row.file.size ? Math.min(1, current.sent / row.file.size) : 0
  row.querySelector(".left").textContent = current ? inWords(current, share) : `${size(row.file.size)}, waits its turn`
  row.querySelector(".bar > div").style.width = `${100 * share}%`
  row.querySelector(".bar").setAttribute("aria-valuenow", Math.round(100 * share))
}

function inWords(current, share) {
  if (share === 1) return `${size(current.file.size)} sent, being written to disk`
  const seconds = (performance.now() - current.began) / 1000
  const left = share > 0 && seconds > 1 ? ` · about ${duration((seconds / share) * (1 - share))} left` : ""
  return `${mib(current.sent)} of ${size(current.file.size)}${left}`
}

function refusalRow(box, sentence) {
  const row = element("div", "refusal")
  const close = element("button", "", "Close")
  close.type = "button"
  close.onclick = () => {
    box.refusals = box.refusals.filter(each => each !== sentence)
    box.draw()
  }
  row.append(element("span", "", sentence), close)
  return row
}

function element(tag, name, words = "") {
  const made = document.createElement(tag)
  made.className = name
  made.textContent = words
  return made
}

function say(box, words) {
  const place = box.root?.querySelector(".said")
  if (place) place.textContent = words
}

function sentenceIn(answer) {
  try {
    return JSON.parse(answer).sentence
  } catch {
    return "The studio did not take the file and does not say why. Reload the page and try again."
  }
}

function cookie(name) {
  const found = document.cookie.split("; ").find(each => each.startsWith(`${name}=`))
  return found ? decodeURIComponent(found.slice(name.length + 1)) : ""
}

function askToStay(event) {
  event.preventDefault()
}

function mib(bytes) {
  const value = bytes / MIB
  return `${value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 })} MiB`
}

function size(bytes) {
  return bytes < MIB / 10 ? `${bytes.toLocaleString("en")} bytes` : mib(bytes)
}

function duration(seconds) {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`
}
