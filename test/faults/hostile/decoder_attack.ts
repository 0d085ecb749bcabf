import type { Finding, RoundContext } from '../campaign.js'
import { tryDecoders } from './decoder_target.js'
import type { KnownNames } from './generator.js'
import { Mutator } from './mutator.js'
import type { Recording } from './recorder.js'

/** The result of an attack on the decoders alone. */
export interface DecoderAttack {
  readonly frames: number
  /** Frames with all parts accepted: mutations that pass the first checks. */
  readonly accepted: number
  readonly findings: readonly Finding[]
}

const roughShare = 0.5
const bombShare = 0.0001
const framesPerTurn = 500
const allShapesEvery = 50
const findingsMax = 20
/** Growth that the decoders may leave: they keep nothing, so it is only garbage. */
const heapBytesMax = 384 * 1024 * 1024

/** Gives hostile requests and replies, half and half, to all decoders, in this process. */
export async function attackDecoders(
  context: RoundContext,
  frames: number,
  recording: Recording,
  known: KnownNames,
): Promise<DecoderAttack> {
  const random = context.rng
  const mutators = (['request', 'reply'] as const).map((side) => {
    const samples = side === 'request' ? recording.requests : recording.replies
    return new Mutator({ random, samples, known, side, roughShare, bombShare })
  })
  const findings: Finding[] = []
  const bytesBefore = heldBytes()
  let accepted = 0
  let tried = 0
  while (tried < frames && findings.length < findingsMax && !context.signal.aborted) {
    for (let n = 0; n < framesPerTurn && tried < frames; n++, tried++) {
      const { bytes, kind } = random.pick(mutators).next()
      const outcome = tryDecoders(bytes, random.int(0, bytes.length), tried % allShapesEvery === 0)
      if (outcome.accepted) accepted++
      if (outcome.finding === undefined) continue
      const { check, evidence } = outcome.finding
      findings.push({ check, evidence: `seed ${random.seed}, frame ${tried}, ${kind}: ${evidence}` })
    }
    // Gives deadlines and sockets of this process a turn.
    await new Promise((resolve) => setImmediate(resolve))
  }
  const grownBytes = heldBytes() - bytesBefore
  if (grownBytes > heapBytesMax)
    findings.push({ check: 'decoder-memory', evidence: `${grownBytes} bytes more after ${tried} frames` })
  context.log(`decoders: ${tried} frames, ${accepted} accepted`)
  return { frames: tried, accepted, findings }
}

function heldBytes(): number {
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
