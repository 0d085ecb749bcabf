import type { Campaign, RoundContext, RoundResult } from '../campaign.js'
import { attackClients } from '../hostile/client_attack.js'
import { attackDecoders } from '../hostile/decoder_attack.js'
import { attackPort } from '../hostile/port_attack.js'

/**
 * Frames of one round by target; a full campaign of four rounds makes ten million. What a broker may keep (caches, the
 * producers it remembers, the arenas of its allocator) is full after some 250,000 frames: memory is measured from there.
 */
const frames = {
  full: { port: 450_000, warmUp: 300_000, decoders: 2_050_000, clients: 3_000 },
  short: { port: 8_000, warmUp: 4_000, decoders: 20_000, clients: 150 },
} as const

/**
 * Mutated and generated frames against the port of a broker, against the decoders alone, and in place of the replies
 * that clients get. Each round has a fresh broker, and a healthy client beside the attack.
 */
export const hostileInput: Campaign = {
  name: 'hostile-input',
  title: 'mutated and generated frames against the port, the decoders and clients',
  rounds: { full: 4, short: 1 },
  roundDeadlineMs: 600_000,
  unavailable: async () =>
    process.platform === 'linux'
      ? undefined
      : 'the memory of a process is read from /proc, which needs Linux',
  round,
}

async function round(context: RoundContext): Promise<RoundResult> {
  const goal = context.short ? frames.short : frames.full
  const port = await attackPort(context, goal.port, goal.warmUp)
  const { recording, known } = port
  const decoders = await attackDecoders(context, goal.decoders, recording, known)
  const clients = await attackClients(context, goal.clients, recording, known)
  const seeded = (evidence: string): string => `seed ${context.rng.seed}: ${evidence}`
  return {
    operations: port.answered + port.witnessed + decoders.frames + clients.operations,
    faults: {
      'frames to the port': port.answered,
      'frames to the port without an answer': port.sent - port.answered,
      'frames to the decoders': decoders.frames,
      'frames to clients': clients.frames,
      'hostile connections': port.connections,
    },
    findings: [...port.findings, ...decoders.findings, ...clients.findings].map(({ check, evidence }) => ({
      check,
      evidence: seeded(evidence),
    })),
    samples: { 'memory drift MiB': [port.driftBytes / 1024 / 1024] },
    ...(port.witnessed === 0 || clients.operations === 0 ? { unknown: 'no healthy call succeeded' } : {}),
  }
}
