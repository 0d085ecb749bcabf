/**
 * Work queues, with real processes: publishes a file of JSON lines, and four workers handle each line. Two of them
 * crash
 * in the middle and one freezes; all have messages that fail, hang, are rejected or finish late. It accounts for every
 * line, and then redrives the dead letters to a worker that can handle them.
 *
 *     node dist/examples/work.js [FILE.ndjson.gz]
 */
import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Client, connect } from 'millrace'
import { hasEnded, pathOf, runToEnd, startServe, textLines } from './processes.js'
import { Crew } from './work_crew.js'
import type { Diary } from './work_diary.js'
import { behaviourOf, workTimes } from './work_settings.js'

const topic = 'packages'
const group = 'indexers'
const partitions = 4
const workers = 4
/** These workers crash once each, during their first messages. */
const crashing = 2
const crashAfter = 40
const deadlineMsDefault = 100_000
const pollMs = 50

/** The result for the lines of the file. */
export interface WorkReport {
  readonly lines: number
  /** Done lines: the broker has confirmed them, or they are among `doneUntold`. */
  readonly done: number
  /** Lines whose handler finished, but whose worker crashed, or lost the confirmation, before it could report. */
  readonly doneUntold: number
  /** Dead letters by their reason. */
  readonly dead: Readonly<Record<string, number>>
  /** Dead letters that should be done, and done lines that should be dead letters. */
  readonly wronglyDead: number
  readonly wronglyDone: number
  /** Lines that are neither done nor dead. */
  readonly missing: number
  /** Lines that were handled to the end more than once, by the reason that permits it. */
  readonly handledAgain: ReturnType<Diary['repeats']>
  /** Deliveries after a confirmed acknowledgement: none. */
  readonly deliveredAfterConfirmed: number
  readonly crashes: number
  readonly leasesLost: number
  readonly brokerKills: number
  /** Redriven dead letters, and those that the second worker has handled. */
  readonly redriven: number
  readonly doneAfterRedrive: number
}

export interface WorkJobOptions {
  /** Path of the built command line, dist/cli/main.cjs. */
  readonly cli?: string
  /** Number of kills and restarts of the broker while the workers run. Default 0. */
  readonly brokerKills?: number
  /** Time limit of the job. Default 100,000. */
  readonly deadlineMs?: number
}

interface Job {
  readonly client: Client
  readonly server: string
  readonly lines: ReadonlySet<string>
  readonly brokerKills: number
  readonly deadline: AbortSignal
  restartBroker(): Promise<void>
}

/** Runs the work in a temporary folder. @throws Error TimeoutError after the time limit */
export async function runPackagesWork(
  file: string,
  { cli = pathOf('../cli/main.cjs'), brokerKills = 0, deadlineMs = deadlineMsDefault }: WorkJobOptions = {},
): Promise<WorkReport> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-work-'))
  const data = join(folder, 'data')
  let broker: ChildProcess | undefined
  let client: Client | undefined
  try {
    const started = await startServe(cli, data)
    const { server } = started
    broker = started.child
    const port = Number(server.slice(server.lastIndexOf(':') + 1))
    const restartBroker = async (): Promise<void> => {
      if (broker !== undefined) await killed(broker)
      broker = (await startServe(cli, data, port)).child
    }
    client = await connect({ servers: server, reconnect: { initialMs: 10, maxMs: 50 } })
    await client.topics.create(topic, { partitions })
    await runToEnd(cli, ['publish', topic, '--server', server, '--file', file])
    const lines = new Set((await textLines(file)).map(digestOf))
    const deadline = AbortSignal.timeout(deadlineMs)
    const job: Job = { client, server, lines, brokerKills, deadline, restartBroker }
    const crew = await work(job)
    const dead = await deadLetters(client)
    return { ...account(job, crew, dead), ...(await redrive(job, dead)) }
  } finally {
    await client?.close({ timeoutMs: 0 })
    if (broker !== undefined) await killed(broker)
    await rm(folder, { recursive: true, force: true })
  }
}

async function killed(child: ChildProcess): Promise<void> {
  const ended = hasEnded(child)
  child.kill('SIGKILL')
  await ended
}

/** Workers run until nothing is left to do. */
async function work({ client, server, lines, brokerKills, deadline, restartBroker }: Job): Promise<Crew> {
  const crew = new Crew({ server, topic, group, workers, crashing, crashAfter })
  try {
    // Spread over the first half, so that work is left after the last kill.
    for (let kill = 1; kill <= brokerKills; kill++) {
      const goal = (lines.size / 2 / brokerKills) * kill
      await until(() => crew.diary.confirmed.size >= goal, deadline)
      await restartBroker()
    }
    await until(async () => crew.isThrough && (await isDone(client)), deadline)
    await crew.close()
    return crew
  } finally {
    crew.kill()
  }
}

async function until(isTrue: () => boolean | Promise<boolean>, deadline: AbortSignal): Promise<void> {
  while (!(await isTrue())) await sleep(pollMs, undefined, { signal: deadline })
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
    found.set(digestOf(message.valueBytes), reason)
  }
  return found
}

/** Redrives the dead letters, because a worker that can handle everything runs now. */
async function redrive(
  { client, deadline }: Job,
  dead: ReadonlyMap<string, string>,
): Promise<Pick<WorkReport, 'redriven' | 'doneAfterRedrive'>> {
  const done = new Set<string>()
  const onSettled: NonNullable<Parameters<Client['work']>[1]['onSettled']> = ({ valueBytes }, outcome) => {
    const digest = digestOf(valueBytes)
    if (outcome === 'ack' && dead.has(digest)) done.add(digest)
  }
  const worker = client.work(topic, { group, ...workTimes, onSettled }, () => {})
  await worker.ready
  const redriven = await client.queues.redrive(group)
  await until(async () => done.size >= redriven && (await isDone(client)), deadline)
  await worker.close()
  return { redriven, doneAfterRedrive: done.size }
}

function account(
  { lines, brokerKills }: Job,
  { diary, crashes, leasesLost }: Crew,
  dead: ReadonlyMap<string, string>,
): Omit<WorkReport, 'redriven' | 'doneAfterRedrive'> {
  const reasons: Record<string, number> = {}
  for (const reason of dead.values()) reasons[reason] = (reasons[reason] ?? 0) + 1
  const told = [...lines].filter((digest) => diary.confirmed.has(digest))
  const others = [...lines].filter((digest) => !diary.confirmed.has(digest) && !dead.has(digest))
  const untold = others.filter((digest) => diary.mayBeDone(digest))
  return {
    lines: lines.size,
    done: told.length + untold.length,
    doneUntold: untold.length,
    dead: reasons,
    wronglyDead: [...dead.keys()].filter((digest) => !isHopeless(digest)).length,
    wronglyDone: [...told, ...untold].filter(isHopeless).length,
    missing: others.length - untold.length,
    handledAgain: diary.repeats(),
    deliveredAfterConfirmed: diary.afterConfirmed(),
    crashes,
    leasesLost,
    brokerKills,
  }
}

function isHopeless(digest: string): boolean {
  return behaviourOf(digest) === 'fails' || behaviourOf(digest) === 'rejected'
}

function digestOf(value: string | Uint8Array = ''): string {
  return createHash('sha1').update(value).digest('hex')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = process.argv[2] ?? pathOf('../../examples/data/packages_sample.ndjson.gz')
  console.log(await runPackagesWork(file))
  console.log(
    '\n"handledAgain" is allowed: the broker had not confirmed that these were done, since their worker crashed, their time\n' +
      'was over or their lease was lost. What was confirmed is not delivered again ("deliveredAfterConfirmed").',
  )
}
