/**
 * Work queues, with real processes: publish a file of JSON lines, let four workers handle each line, of which two crash
 * in the middle and all have messages that fail, hang, are rejected or answered late; account for every line; then give
 * the dead letters back to a worker that can handle them.
 *
 *     node dist/examples/work.js [FILE.ndjson.gz]
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Client, connect } from 'millrace'
import { hasEnded, pathOf, runToEnd, startServe, textLines } from './processes.js'
import { workTimes } from './work_settings.js'

const topic = 'packages'
const group = 'indexers'
const partitions = 4
const workers = 4
/** These workers crash once, after a tenth of the lines each. */
const crashing = 2

/** What became of the lines of the file. */
export interface WorkReport {
  readonly lines: number
  /** Lines of which a handler came to its end and was confirmed, or would have been had its worker lived. */
  readonly done: number
  /** Dead letters by their reason. */
  readonly dead: Readonly<Record<string, number>>
  /** Lines that are neither done nor dead. */
  readonly missing: number
  /** Lines that are both. */
  readonly doneAndDead: number
  /** Lines that were handled to the end more than once: late, after their time was over, or in a worker that crashed then. */
  readonly handledAgain: number
  /** Deliveries of lines whose acknowledgement was confirmed before: none. */
  readonly deliveredAfterConfirmed: number
  readonly crashes: number
  /** Dead letters that were given back, and handled by a worker that can. */
  readonly redriven: number
  readonly doneAfterRedrive: number
}

/** What the workers said, in the order in which it came. */
class Diary {
  readonly handled = new Map<string, number>()
  readonly confirmed = new Set<string>()
  afterConfirmed = 0
  crashes = 0

  read(line: string): void {
    const [what, digest = ''] = line.split(' ')
    if (what === 'confirmed') this.confirmed.add(digest)
    if (what === 'begun' && this.confirmed.has(digest)) this.afterConfirmed++
    if (what === 'handled') this.handled.set(digest, (this.handled.get(digest) ?? 0) + 1)
  }
}

/** Runs the work in a temporary folder. @param cli path of the built command line, dist/cli/main.cjs */
export async function runPackagesWork(file: string, cli = pathOf('../cli/main.cjs')): Promise<WorkReport> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-work-'))
  const running = new Set<ChildProcess>()
  try {
    const { server, child: broker } = await startServe(cli, join(folder, 'data'))
    running.add(broker)
    const lines = new Set(
      (await textLines(file)).map((line) => createHash('sha1').update(line).digest('hex')),
    )
    const client = await connect(server)
    await client.topics.create(topic, { partitions })
    await runToEnd(cli, ['publish', topic, '--server', server, '--file', file])
    const diary = await work(client, server, lines.size, running)
    const dead = await deadLetters(client)
    const redriven = await redrive(client)
    await client.close()
    broker.kill('SIGTERM')
    await hasEnded(broker)
    return { ...account(lines, diary, dead), ...redriven }
  } finally {
    for (const child of running)
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  }
}

/** Four workers, which are replaced when they crash, until nothing is left to do. */
async function work(
  client: Client,
  server: string,
  lines: number,
  running: Set<ChildProcess>,
): Promise<Diary> {
  const diary = new Diary()
  const members = new Set<ChildProcess>()
  const startMember = (crashAfter: number): void => {
    const args = [pathOf('work_member.js'), server, topic, group, String(crashAfter)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    members.add(child)
    running.add(child)
    createInterface({ input: child.stdout }).on('line', (line) => diary.read(line))
    child.once('exit', (code) => {
      members.delete(child)
      if (code !== 1) return
      diary.crashes++
      startMember(0)
    })
  }
  for (let n = 0; n < workers; n++) startMember(n < crashing ? Math.ceil(lines / 10) : 0)
  while (!(await isDone(client)) || diary.crashes < crashing) await sleep(50)
  const ended = [...members].map((member) => hasEnded(member))
  for (const member of members) member.kill('SIGTERM')
  await Promise.all(ended)
  return diary
}

async function isDone(client: Client): Promise<boolean> {
  const groups = await client.queues.list()
  if (!groups.some((one) => one.group === group)) return false
  const { partitions: states } = await client.queues.describe(group)
  return states.length > 0 && states.every((one) => one.waiting + one.inFlight + one.delayed === 0)
}

/** Reasons of the dead letters by the digest of their values. */
async function deadLetters(client: Client): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for await (const message of client.consume(`${group}.dead-letters`, { from: 'earliest', until: 'end' })) {
    const reason = `${message.headerText('millrace-dead-reason')}: ${message.headerText('millrace-dead-error')}`
    found.set(createHash('sha1').update(message.value).digest('hex'), reason)
  }
  return found
}

/** Gives the dead letters back, now that there is a worker that can handle everything. */
async function redrive(client: Client): Promise<Pick<WorkReport, 'redriven' | 'doneAfterRedrive'>> {
  let doneAfterRedrive = 0
  const count = (): void => void doneAfterRedrive++
  const worker = client.work(topic, { group, ...workTimes, onSettled: count }, () => {})
  await worker.ready
  const redriven = await client.queues.redrive(group)
  while (doneAfterRedrive < redriven) await sleep(20)
  await worker.close()
  return { redriven, doneAfterRedrive }
}

function account(
  lines: ReadonlySet<string>,
  { handled, confirmed, afterConfirmed, crashes }: Diary,
  dead: ReadonlyMap<string, string>,
): Omit<WorkReport, 'redriven' | 'doneAfterRedrive'> {
  const reasons: Record<string, number> = {}
  for (const reason of dead.values()) reasons[reason] = (reasons[reason] ?? 0) + 1
  const all = [...lines]
  const isDoneLine = (digest: string): boolean => handled.has(digest) || confirmed.has(digest)
  return {
    lines: lines.size,
    done: all.filter(isDoneLine).length,
    dead: reasons,
    missing: all.filter((digest) => !isDoneLine(digest) && !dead.has(digest)).length,
    doneAndDead: all.filter((digest) => confirmed.has(digest) && dead.has(digest)).length,
    handledAgain: [...handled.values()].filter((times) => times > 1).length,
    deliveredAfterConfirmed: afterConfirmed,
    crashes,
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = process.argv[2] ?? pathOf('../../examples/data/packages_sample.ndjson.gz')
  console.log(await runPackagesWork(file))
}
