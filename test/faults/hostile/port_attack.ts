import { commands } from '../../../protocol/index.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Finding, RoundContext } from '../campaign.js'
import { percentile } from '../figures.js'
import { anonymousBytes, startAttackedBroker } from './attacked_broker.js'
import type { KnownNames } from './generator.js'
import { Mutator, type ReadableRequest } from './mutator.js'
import { PortStorm } from './port_storm.js'
import { type Recording, recordedNames, recordTraffic } from './recorder.js'
import { Witness } from './witness.js'

/** The result of an attack on the port of a broker. */
export interface PortAttack {
  readonly sent: number
  readonly answered: number
  readonly connections: number
  /** Values that the healthy client published and read during the attack. */
  readonly witnessed: number
  /** Memory of the broker after all frames minus its memory after the warm-up. */
  readonly driftBytes: number
  readonly findings: readonly Finding[]
  readonly recording: Recording
  readonly known: KnownNames
}

const readingsPerLevel = { full: 5, short: 1 }
const driftBytesMax = 50 * 1024 * 1024
const connectionsAtATime = 24
const roughShare = 0.02
const settleMs = 15_000

/**
 * Sends hostile frames to a broker in its own process until it has answered `frames`, next to a healthy client, and
 * checks the broker afterwards: the same process, healthy, no error in its log, no leaked connection or memory.
 * @param warmUpFrames answered before the first memory reading: everything that a broker keeps is full by then
 */
export async function attackPort(
  context: RoundContext,
  frames: number,
  warmUpFrames: number,
): Promise<PortAttack> {
  const random = context.rng
  const broker = await startAttackedBroker(context)
  const recording = await recordTraffic(context, broker.port)
  const witness = await Witness.start(context, broker.port, `w${random.uint32().toString(16)}`)
  const known = knownNames(recording)
  const mutator = new Mutator({
    random,
    samples: recording.requests,
    known,
    side: 'request',
    roughShare,
    bombShare: 0.0002,
  })
  const storm = new PortStorm({
    port: broker.port,
    random,
    mutator,
    connections: connectionsAtATime,
    isForbidden: (request) => isForbidden(request, witness.topicId),
  })
  /** Pauses during the last quarter of the frames for readings: work in progress varies by about 30 MiB. */
  const levelAfter = async (count: number): Promise<number> => {
    await storm.run(Math.floor(count * 0.75), context.signal)
    const wanted = context.short ? readingsPerLevel.short : readingsPerLevel.full
    const readings: number[] = []
    for (let reading = 0; reading < wanted; reading++) {
      await storm.run(Math.ceil((count * 0.25) / wanted), context.signal)
      readings.push(await anonymousBytes(broker))
    }
    return percentile(
      readings.sort((a, b) => a - b),
      0.5,
    )
  }
  await waitFor('the witness to read', () => witness.read > 0)
  const { connections: openBefore } = await witness.client.status()
  const warmBytes = await levelAfter(warmUpFrames)
  const endBytes = await levelAfter(frames - warmUpFrames)
  const findings = [...storm.findings]
  try {
    await checkAfter(witness, openBefore, broker.process.pid, findings)
  } catch (error) {
    findings.push({ check: 'broker-unwell', evidence: String(error) })
  }
  const driftBytes = endBytes - warmBytes
  if (driftBytes > driftBytesMax)
    findings.push({ check: 'memory-drift', evidence: `${driftBytes} bytes over ${storm.answered} frames` })
  findings.push(...(await witness.finish()), ...(await broker.complaints()))
  context.log(
    `port: ${storm.answered} of ${storm.sent} frames answered on ${storm.connections} connections, drift ${Math.round(driftBytes / 1024)} KiB`,
  )
  const { sent, answered, connections } = storm
  return { sent, answered, connections, witnessed: witness.read, driftBytes, findings, recording, known }
}

/** Names and ids for generated frames. */
export function knownNames({ topics }: Recording): KnownNames {
  return {
    topics: [...recordedNames.topics, ...recordedNames.sideTopics],
    groups: recordedNames.groups,
    topicIds: topics.map(({ topicId }) => topicId),
    partitionsMax: 3,
  }
}

async function checkAfter(
  witness: Witness,
  openBefore: number,
  pid: number,
  findings: Finding[],
): Promise<void> {
  const status = await waitFor(
    `the broker to have ${openBefore} connections as before`,
    async () => {
      const current = await witness.client.status()
      return current.connections <= openBefore && current
    },
    { deadlineMs: settleMs },
  )
  if (status.pid !== pid)
    findings.push({ check: 'broker-exit', evidence: `process ${status.pid} answers, expected ${pid}` })
  if (status.health.status !== 'ok')
    findings.push({ check: 'broker-unwell', evidence: JSON.stringify(status.health) })
}

/**
 * Legitimate requests that would end the attack or harm the witness: deletions and changes of the topics of
 * most frames, and publishes to the topic of the witness under the name of its producer.
 */
function isForbidden({ command, body }: ReadableRequest, witnessTopicId: number): boolean {
  if (typeof body !== 'object' || body === null) return false
  const { topic, batches } = body as Readonly<Record<string, unknown>>
  if (command === commands.topicDelete.number || command === commands.topicAlter.number)
    return (recordedNames.topics as readonly unknown[]).includes(topic)
  if (command !== commands.publish.number || !Array.isArray(batches)) return false
  return batches.some((entry: unknown) => Array.isArray(entry) && entry[0] === witnessTopicId)
}
