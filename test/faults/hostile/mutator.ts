import {
  batchHeaderBytes,
  commandOf,
  commands,
  decodeBody,
  encodeBody,
  frameHeaderBytes,
  isMillraceError,
} from '../../../protocol/index.js'
import type { Random } from '../../helpers/random.js'
import { batchBombs, mutateBatchHeader, mutateRecords, oddBatch } from './batch_mutations.js'
import { roughBodyMutations, swapBodyTypes } from './body_mutations.js'
import { frameFields, joinFrame, partsOf } from './frame_bytes.js'
import { BodyGenerator, type KnownNames } from './generator.js'
import type { Sample } from './recorder.js'

/** Bytes to send in place of one frame, and a description of the change. */
export interface HostileFrame {
  readonly bytes: Buffer
  readonly kind: string
}

export interface MutatorOptions {
  readonly random: Random
  readonly samples: readonly Sample[]
  readonly known: KnownNames
  /** The direction of the frames, requests or replies: the shapes of generated bodies. */
  readonly side: 'request' | 'reply'
  /** Share of frames that end a connection, or whose body is not msgpack. */
  readonly roughShare: number
  /** Share of frames with a batch that decompresses to tens of MB. */
  readonly bombShare: number
}

const noBytes = Buffer.alloc(0)
const interestingLengths = [
  0,
  1,
  11,
  12,
  13,
  4_096,
  65_535,
  2 ** 24,
  2 ** 24 + 1,
  2 ** 31,
  2 ** 32 - 1,
] as const
const oddBatchesMax = 100
const bombBytes = 16 * 1024 * 1024

let madeBombs: readonly Buffer[] | undefined

function bombs(): readonly Buffer[] {
  madeBombs ??= batchBombs(bombBytes)
  return madeBombs
}

/**
 * Turns recorded frames into hostile ones, and generates others from the shapes of the commands. `random` is the only
 * source
 * of randomness, so one seed and one recording give the same frames again.
 */
export class Mutator {
  readonly #random: Random
  readonly #options: MutatorOptions
  readonly #generator: BodyGenerator
  readonly #byCommand = new Map<number, Sample[]>()
  readonly #commandNumbers: readonly number[]
  readonly #withPayload: readonly Sample[]
  readonly #oddBatches: Buffer[] = []

  constructor(options: MutatorOptions) {
    this.#options = options
    this.#random = options.random
    this.#generator = new BodyGenerator(options.random, options.known)
    for (const sample of options.samples) {
      const samples = this.#byCommand.get(sample.command) ?? []
      samples.push(sample)
      this.#byCommand.set(sample.command, samples)
    }
    this.#commandNumbers = [...this.#byCommand.keys()]
    this.#withPayload = options.samples.filter(
      ({ bytes }) => partsOf(bytes).payload.length > batchHeaderBytes,
    )
  }

  next(): HostileFrame {
    const random = this.#random
    const { roughShare, bombShare } = this.#options
    if (random.chance(bombShare)) return this.#bomb()
    return random.chance(roughShare) ? this.rough(this.#sample()) : this.polite(this.#sample())
  }

  /** This frame with damage that a checksum, a length or a shape can show: no batch is sealed again. */
  damage(sample: Sample): HostileFrame {
    switch (this.#random.int(0, 3)) {
      case 0:
        return this.#swapped(sample)
      case 1:
        return { bytes: this.#flipAnywhere(Buffer.from(sample.bytes)), kind: 'frame bits flipped' }
      default:
        return this.rough(sample)
    }
  }

  /** A frame with correct sizes and a msgpack body: a connection survives it. */
  polite(sample: Sample): HostileFrame {
    const random = this.#random
    switch (random.int(0, 9)) {
      case 0:
      case 1:
      case 2:
        return this.#generated()
      case 3:
      case 4:
        return this.#swapped(sample)
      case 5:
        return this.#changedBatch('batch header field set', mutateBatchHeader)
      case 6:
        return this.#changedBatch('records changed', mutateRecords)
      case 7:
        return this.#generatedBatch()
      case 8:
        return this.#otherCommand(sample)
      default:
        return random.chance(0.5)
          ? this.#otherPayload(sample)
          : { bytes: Buffer.from(sample.bytes), kind: 'frame repeated' }
    }
  }

  /** A frame that ends the connection, or should. */
  rough(sample: Sample): HostileFrame {
    const random = this.#random
    const bytes = Buffer.from(sample.bytes)
    switch (random.int(0, 7)) {
      case 0:
        return { bytes: this.#lieAbout(bytes, frameFields.length), kind: 'length field lies' }
      case 1:
        return { bytes: this.#lieAbout(bytes, frameFields.bodyBytes), kind: 'body length lies' }
      case 2:
        return { bytes: bytes.subarray(0, random.int(0, bytes.length - 1)), kind: 'frame cut' }
      case 3:
        return { bytes: Buffer.from(random.bytes(random.int(1, 200))), kind: 'random bytes' }
      case 4:
        return { bytes: this.#flipAnywhere(bytes), kind: 'frame bits flipped' }
      case 5: {
        bytes.writeUInt16LE(random.chance(0.5) ? 1 << random.int(0, 15) : 0xffff, frameFields.flags)
        return { bytes, kind: 'flags set' }
      }
      default:
        return this.#roughBody(sample)
    }
  }

  #sample(): Sample {
    const random = this.#random
    return random.pick(this.#byCommand.get(random.pick(this.#commandNumbers)) ?? this.#options.samples)
  }

  #generated(): HostileFrame {
    const random = this.#random
    const command = random.pick(Object.values(commands))
    const extremes = random.pick([0, 0, 0.05, 0.3])
    const form = this.#options.side === 'request' ? command.request.form : command.reply.form
    const body = Buffer.from(encodeBody(this.#generator.body(form, extremes)))
    const payload = random.chance(0.1) ? random.bytes(random.int(0, 300)) : noBytes
    const kind = extremes === 0 ? 'generated' : 'generated with extremes'
    return { bytes: joinFrame({ command: command.number, ...this.#head() }, body, payload), kind }
  }

  /** A publish, or the reply to a fetch, with correct sizes and checksums. */
  #generatedBatch(): HostileFrame {
    const random = this.#random
    const count = random.int(1, 3)
    const batches = Array.from({ length: count }, () => this.#oddBatch())
    return { bytes: this.#withBatches(batches), kind: 'generated batch' }
  }

  /** A new one costs more than everything else, so most are reused. */
  #oddBatch(): Buffer {
    const slot = this.#random.int(0, oddBatchesMax - 1)
    const made = this.#oddBatches[slot]
    if (made !== undefined && !this.#random.chance(0.02)) return made
    const batch = oddBatch(this.#random, this.#options.known.topicIds)
    this.#oddBatches[slot] = batch
    return batch
  }

  #withBatches(batches: readonly Buffer[]): Buffer {
    const random = this.#random
    const { known, side } = this.#options
    const entries = batches.map((batch) => [
      random.pick(known.topicIds),
      random.int(0, known.partitionsMax),
      batch.length,
    ])
    const body =
      side === 'request'
        ? { batches: entries }
        : {
            partitions: entries.map(([topicId, partition, bytes]) => [
              topicId,
              partition,
              0,
              bytes,
              0,
              1_000,
            ]),
          }
    const command = side === 'request' ? commands.publish.number : commands.fetch.number
    return joinFrame({ command, ...this.#head() }, encodeBody(body), Buffer.concat(batches))
  }

  #changedBatch(kind: string, change: (batch: Buffer, random: Random) => Buffer): HostileFrame {
    if (this.#withPayload.length === 0) return this.#generated()
    const { payload } = partsOf(this.#random.pick(this.#withPayload).bytes)
    const bytes = payload.readUInt32LE(0)
    const batch = change(payload.subarray(0, Math.min(bytes, payload.length)), this.#random)
    return { bytes: this.#withBatches([batch]), kind }
  }

  #bomb(): HostileFrame {
    return { bytes: this.#withBatches([this.#random.pick(bombs())]), kind: 'compression bomb' }
  }

  #swapped(sample: Sample): HostileFrame {
    const { body, payload, ...head } = partsOf(sample.bytes)
    const changed = swapBodyTypes(body, this.#random, partsOf(this.#sample().bytes).body)
    return { bytes: joinFrame(head, changed, payload), kind: 'types swapped' }
  }

  #roughBody(sample: Sample): HostileFrame {
    const { body, payload, ...head } = partsOf(sample.bytes)
    const kind = this.#random.pick(Object.keys(roughBodyMutations))
    const mutate = roughBodyMutations[kind]
    if (mutate === undefined) throw new Error(`there is no mutation "${kind}"`)
    const changed = mutate(body, this.#random, partsOf(this.#sample().bytes).body)
    return { bytes: joinFrame(head, changed, payload), kind }
  }

  #otherCommand(sample: Sample): HostileFrame {
    const random = this.#random
    const { body, payload, flags, correlation } = partsOf(sample.bytes)
    const command = random.chance(0.8)
      ? random.pick(this.#commandNumbers)
      : random.pick([0, 4, 23, 99, 0x7fff, 0xffff])
    return { bytes: joinFrame({ command, flags, correlation }, body, payload), kind: 'other command' }
  }

  /** The payload is longer, shorter or different from the body. */
  #otherPayload(sample: Sample): HostileFrame {
    const random = this.#random
    const { body, payload, ...head } = partsOf(sample.bytes)
    const other = partsOf(this.#sample().bytes).payload
    const changed = random.pick([
      payload.subarray(0, random.int(0, payload.length)),
      Buffer.concat([payload, random.bytes(random.int(1, 100))]),
      Buffer.concat([payload, payload]),
      other,
    ])
    return { bytes: joinFrame(head, body, changed), kind: 'other payload' }
  }

  #lieAbout(bytes: Buffer, at: number): Buffer {
    const random = this.#random
    const lie = random.chance(0.4)
      ? Math.max(0, bytes.readUInt32LE(at) + random.int(-20, 20))
      : random.pick(interestingLengths)
    bytes.writeUInt32LE(lie, at)
    return bytes
  }

  #flipAnywhere(bytes: Buffer): Buffer {
    for (let n = this.#random.int(1, 4); n > 0; n--) {
      const at = this.#random.int(0, bytes.length - 1)
      bytes[at] = (bytes[at] as number) ^ (1 << this.#random.int(0, 7))
    }
    return bytes
  }

  #head(): { readonly flags: number; readonly correlation: number } {
    return { flags: this.#options.side === 'request' ? 0 : 1, correlation: 1 }
  }
}

/** A request as the broker reads it. */
export interface ReadableRequest {
  readonly command: number
  /** Undefined for an unknown command: the broker refuses it before it reads the body. */
  readonly body: unknown
}

/** One whole request that a connection survives, or undefined if the broker has to end it. */
export function readRequest(bytes: Buffer): ReadableRequest | undefined {
  if (bytes.length < frameHeaderBytes || bytes.readUInt32LE(frameFields.length) !== bytes.length - 4) return
  if (bytes.readUInt16LE(frameFields.flags) !== 0) return
  const bodyEnd = frameHeaderBytes + bytes.readUInt32LE(frameFields.bodyBytes)
  if (bodyEnd > bytes.length) return
  const command = bytes.readUInt16LE(frameFields.command)
  if (commandOf(command) === undefined) return { command, body: undefined }
  try {
    return { command, body: decodeBody(bytes.subarray(frameHeaderBytes, bodyEnd)) }
  } catch (error) {
    if (isMillraceError(error)) return
    throw error
  }
}
