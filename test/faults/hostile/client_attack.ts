import { fileURLToPath } from 'node:url'
import { connect } from '../../../client/index.js'
import { frameHeaderBytes } from '../../../protocol/index.js'
import { type Exit, type SpawnedProcess, spawnNode } from '../../helpers/spawn.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Finding, RoundContext } from '../campaign.js'
import { startAttackedBroker } from './attacked_broker.js'
import { attackedTopic } from './client_values.js'
import { frameFields } from './frame_bytes.js'
import { FrameRelay, type FrameTap } from './frame_relay.js'
import type { KnownNames } from './generator.js'
import { Mutator } from './mutator.js'
import type { Recording } from './recorder.js'

/** The result of an attack on clients. */
export interface ClientAttack {
  /** Hostile frames sent to clients. */
  readonly frames: number
  /** Completed calls of the clients, and values that they read. */
  readonly operations: number
  readonly values: number
  readonly findings: readonly Finding[]
}

const damagedShare = 0.25
const exitMs = 30_000
const silenceMsMax = 10_000
const deadlineMs = 240_000
const rssBytesMax = 768 * 1024 * 1024
const program = fileURLToPath(new URL('./client_under_attack.js', import.meta.url))

/**
 * Puts relays that change the broker's frames between it and clients in their own process. The clients must not
 * crash, hang, grow, or read a value that nobody published if checksums can show it.
 */
export async function attackClients(
  context: RoundContext,
  frames: number,
  recording: Recording,
  known: KnownNames,
): Promise<ClientAttack> {
  const random = context.rng
  const broker = await startAttackedBroker(context)
  const admin = await connect(`127.0.0.1:${broker.port}`)
  await admin.topics.create(attackedTopic, { partitions: 3 })
  await admin.close()
  const mutator = new Mutator({
    random,
    samples: recording.replies,
    known,
    side: 'reply',
    roughShare: 0.2,
    bombShare: 0.001,
  })
  let sent = 0
  const pass: FrameTap = (frame) => [frame]
  const sometimes = (change: (frame: Buffer) => Buffer): FrameTap => {
    return (frame) => {
      if (!random.chance(damagedShare)) return [frame]
      sent++
      return [change(frame)]
    }
  }
  const damaged = sometimes(
    (bytes) => mutator.damage({ command: bytes.readUInt16LE(frameFields.command), bytes }).bytes,
  )
  const forged = sometimes((frame) => addressed(mutator.next().bytes, frame))
  const [damagedRelay, forgedRelay] = await Promise.all(
    [damaged, forged].map((fromBroker) =>
      FrameRelay.start(context, { targetPort: broker.port, taps: () => ({ fromClient: pass, fromBroker }) }),
    ),
  )
  const token = `c${random.uint32().toString(16)}`
  const child = spawnNode(context, program, [token, String(damagedRelay?.port), String(forgedRelay?.port)])
  const watched = new WatchedOutput(child)
  await waitFor(
    `${frames} hostile frames to have been sent`,
    () => watched.poll() || sent >= frames || context.signal.aborted,
    { deadlineMs },
  )
  child.stdin.end()
  const exit = await waitFor('the clients to end', () => watched.exit, { deadlineMs: exitMs }).catch(String)
  watched.poll()
  const { operations, values } = watched
  const findings = [...watched.findings, ...(await broker.complaints())]
  if (typeof exit === 'string') {
    findings.push({ check: 'client-hang', evidence: exit })
  } else if (exit.code !== 0) {
    const end = child.output.stderr.slice(-4_000)
    findings.push({ check: 'client-exit', evidence: `it ended with ${JSON.stringify(exit)}\n${end}` })
  }
  context.log(`clients: ${sent} hostile frames, ${operations} calls, ${values} values read`)
  return { frames: sent, operations, values, findings }
}

/** A generated frame as the answer to the current request. */
function addressed(bytes: Buffer, original: Buffer): Buffer {
  if (bytes.length >= frameHeaderBytes)
    bytes.writeUInt32LE(original.readUInt32LE(frameFields.correlation), frameFields.correlation)
  return bytes
}

interface Progress {
  readonly operations: number
  readonly values: number
  readonly rssBytes: number
}

/** The output of the clients: progress, and findings. */
class WatchedOutput {
  readonly findings: Finding[] = []
  operations = 0
  values = 0
  exit: Exit | undefined
  #heardAtMs = performance.now()
  #readTo = 0
  readonly #child: SpawnedProcess

  constructor(child: SpawnedProcess) {
    this.#child = child
    child.exited.then((exit) => {
      this.exit = exit
    })
  }

  /** Reads new output; whether there is no more to wait for: the end, a finding, or a long silence. */
  poll(): boolean {
    const { stdout } = this.#child.output
    const end = stdout.lastIndexOf('\n') + 1
    for (const line of stdout.slice(this.#readTo, end).split('\n')) if (line !== '') this.#take(line)
    if (end > this.#readTo) this.#heardAtMs = performance.now()
    this.#readTo = end
    if (this.exit !== undefined || this.findings.length > 0) return true
    const silentMs = performance.now() - this.#heardAtMs
    if (silentMs < silenceMsMax) return false
    this.findings.push({ check: 'client-hang', evidence: `it sent nothing for ${Math.round(silentMs)} ms` })
    return true
  }

  #take(line: string): void {
    const said = JSON.parse(line) as Progress | Finding
    if ('check' in said) this.findings.push(said)
    else this.#progress(said)
  }

  #progress({ operations, values, rssBytes }: Progress): void {
    this.operations = operations
    this.values = values
    if (rssBytes > rssBytesMax && !this.findings.some(({ check }) => check === 'client-memory'))
      this.findings.push({ check: 'client-memory', evidence: `the clients take ${rssBytes} bytes` })
  }
}
