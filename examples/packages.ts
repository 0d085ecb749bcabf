/**
 * The main job, with real processes: starts a broker, publishes a file of JSON lines keyed by a field, and reads it
 * with a group
 * of three members, one of which is killed half way. It accounts for every line.
 *
 *     node dist/examples/packages.js [FILE.ndjson.gz]
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Client, connect } from 'millrace'
import { hasEnded, pathOf, runToEnd, startServe, textLines } from './processes.js'

const topic = 'packages'
const group = 'indexers'
const keyField = 'source'
const partitions = 8
const members = 3

/** The result for the lines of the file. */
export interface JobReport {
  readonly lines: number
  readonly read: number
  readonly missing: number
  /** Received lines that are not in the file. */
  readonly unknown: number
  /** Keys whose lines were stored or received in another order than in the file. */
  readonly disordered: number
  /** Lines that were received more than once. */
  readonly duplicates: number
  /** Duplicates of lines whose acknowledgement the broker had confirmed to a member. */
  readonly duplicatesOfAcknowledged: number
  readonly killedAfter: number
}

/** A line of a member's output. */
interface Seen {
  readonly member: number
  readonly partition: number
  readonly offset: number
  readonly digest: string
}

interface Member {
  readonly index: number
  readonly process: ChildProcess
  /** The next offset by partition, as confirmed by the broker. */
  readonly confirmed: Map<number, number>
}

/** Runs the job in a temporary folder. @param cli path of the built command line, dist/cli/main.cjs */
export async function runPackagesJob(file: string, cli = pathOf('../cli/main.cjs')): Promise<JobReport> {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-packages-'))
  const running: ChildProcess[] = []
  try {
    const { server, child: broker } = await startServe(cli, join(folder, 'data'))
    running.push(broker)
    const client = await connect(server)
    await client.topics.create(topic, { partitions })
    await runToEnd(cli, ['publish', topic, '--server', server, '--file', file, '--key-field', keyField])
    const work = await readWithGroup(client, server, running)
    await client.close()
    broker.kill('SIGTERM')
    await once(broker, 'exit')
    return account(await linesOf(file), work)
  } finally {
    for (const child of running)
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  }
}

interface Work {
  readonly seen: readonly Seen[]
  readonly members: readonly Member[]
  readonly killedAfter: number
}

/** Three members read. The second is killed when half of the lines are confirmed. Ends when nothing is left to read. */
async function readWithGroup(client: Client, server: string, running: ChildProcess[]): Promise<Work> {
  const seen: Seen[] = []
  const ends = await client.topics.offsets(topic, 'latest')
  const total = ends.reduce((sum, end) => sum + end, 0)
  let killedAfter = 0
  const all: Member[] = []
  const killHalfWay = (): void => {
    if (killedAfter > 0 || seen.length < total / 2) return
    killedAfter = seen.length
    all[1]?.process.kill('SIGKILL')
  }
  for (let index = 0; index < members; index++) all.push(startMember(index, server, seen, killHalfWay))
  running.push(...all.map((member) => member.process))
  while ((await lagOf(client)) > 0 || killedAfter === 0) await sleep(50)
  const ended = all.map((member) => hasEnded(member.process))
  for (const member of all) member.process.kill('SIGTERM')
  await Promise.all(ended)
  return { seen, members: all, killedAfter }
}

function startMember(index: number, server: string, seen: Seen[], onSeen: () => void): Member {
  const child = spawn(process.execPath, [pathOf('packages_member.js'), server, topic, group], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const confirmed = new Map<number, number>()
  createInterface({ input: child.stdout }).on('line', (line) => {
    const [what, partition, offset, , digest = ''] = line.split(' ')
    if (what === 'confirmed') confirmed.set(Number(partition), Number(offset))
    if (what !== 'seen') return
    seen.push({ member: index, partition: Number(partition), offset: Number(offset), digest })
    onSeen()
  })
  return { index, process: child, confirmed }
}

async function lagOf(client: Client): Promise<number> {
  const groups = await client.groups.list()
  if (!groups.some((one) => one.group === group)) return Number.POSITIVE_INFINITY
  const { partitions: states } = await client.groups.describe(group)
  if (states.length < partitions) return Number.POSITIVE_INFINITY
  return states.reduce((sum, state) => sum + state.lag, 0)
}

interface Line {
  readonly number: number
  readonly key: string
}

async function linesOf(file: string): Promise<Map<string, Line>> {
  const found = new Map<string, Line>()
  for (const [number, line] of (await textLines(file)).entries()) {
    const key = String((JSON.parse(line) as Record<string, unknown>)[keyField])
    found.set(createHash('sha1').update(line).digest('hex'), { number, key })
  }
  return found
}

function account(lines: ReadonlyMap<string, Line>, { seen, members: all, killedAfter }: Work): JobReport {
  const readers = new Map<string, Seen[]>()
  const disordered = new Set<string>()
  const lastRead = new Map<string, number>()
  let unknown = 0
  for (const one of seen) {
    const line = lines.get(one.digest)
    if (line === undefined) {
      unknown++
      continue
    }
    const known = readers.get(one.digest)
    if (known === undefined) readers.set(one.digest, [one])
    else known.push(one)
    // One member gets the lines of a key in the order of the file, whatever the others do.
    const reader = `${one.member} ${line.key}`
    if ((lastRead.get(reader) ?? -1) >= line.number) disordered.add(line.key)
    lastRead.set(reader, line.number)
  }
  const stored = [...readers.values()]
    .map(([first]) => first as Seen)
    .sort((a, b) => a.partition - b.partition || a.offset - b.offset)
  const lastStored = new Map<string, number>()
  for (const { digest } of stored) {
    const { key, number } = lines.get(digest) as Line
    if ((lastStored.get(key) ?? -1) >= number) disordered.add(key)
    lastStored.set(key, number)
  }
  const repeated = [...readers.values()].filter((list) => list.length > 1)
  const acknowledged = repeated.filter(([first]) => {
    const { member, partition, offset } = first as Seen
    return offset < (all[member]?.confirmed.get(partition) ?? 0)
  })
  return {
    lines: lines.size,
    read: readers.size,
    missing: lines.size - readers.size,
    unknown,
    disordered: disordered.size,
    duplicates: repeated.length,
    duplicatesOfAcknowledged: acknowledged.length,
    killedAfter,
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = process.argv[2] ?? pathOf('../../examples/data/packages_sample.ndjson.gz')
  console.log(await runPackagesJob(file))
}
