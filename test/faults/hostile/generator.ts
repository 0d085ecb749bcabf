import type { ShapeForm } from '../../../protocol/index.js'
import type { Random } from '../../helpers/random.js'

/** Names and numbers that exist in the broker under attack, so that generated requests pass lookups. */
export interface KnownNames {
  readonly topics: readonly string[]
  readonly groups: readonly string[]
  readonly topicIds: readonly number[]
  /** Partition numbers of the topics, or a few more. */
  readonly partitionsMax: number
}

const boundaries = [
  0,
  1,
  -1,
  -2,
  2,
  127,
  128,
  255,
  256,
  65_535,
  65_536,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 53 - 1,
  2 ** 53,
  -(2 ** 31),
  -(2 ** 53),
  2 ** 63,
  1e300,
  0.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
] as const

const oddTexts = [
  '',
  ' ',
  '\u0000',
  '__proto__',
  'constructor',
  'toString',
  '../../etc/passwd',
  '\ud800',
  '\u{1f600}',
  'a'.repeat(199),
  'a'.repeat(200),
  'a'.repeat(201),
  'é'.repeat(512),
  'x'.repeat(5_000),
] as const

/** A scalar at the limit of a number, string or flag. */
export function extremeScalar(random: Random): unknown {
  switch (random.int(0, 5)) {
    case 0:
    case 1:
      return random.pick(boundaries)
    case 2:
      return random.pick(oddTexts)
    case 3:
      return random.chance(0.5)
    case 4:
      return null
    default:
      return Buffer.from(random.bytes(random.int(0, 40)))
  }
}

/** A value of any type that a body can hold, with some nesting. */
export function extremeValue(random: Random, depth = 2): unknown {
  if (depth === 0 || random.chance(0.6)) return extremeScalar(random)
  const count = random.int(0, 6)
  if (random.chance(0.5)) return Array.from({ length: count }, () => extremeValue(random, depth - 1))
  return Object.fromEntries(
    Array.from({ length: count }, (_, index) => [`key${index}`, extremeValue(random, depth - 1)]),
  )
}

/** Makes bodies that fit the shapes of commands: right types, values from ordinary to the limits. */
export class BodyGenerator {
  readonly #random: Random
  readonly #known: KnownNames

  constructor(random: Random, known: KnownNames) {
    this.#random = random
    this.#known = known
  }

  /**
   * A body for a shape.
   * @param extremes the share of values of any type and size, 0 for a body that the shape accepts
   */
  body(form: ShapeForm, extremes: number): unknown {
    return this.#value(form, '', extremes)
  }

  #value(form: ShapeForm, name: string, extremes: number): unknown {
    const random = this.#random
    if (extremes > 0 && random.chance(extremes)) return extremeValue(random)
    switch (form.kind) {
      case 'text':
        return this.#text(name, form.bytesMax)
      case 'integer':
        return this.#integer(name, form.min, form.max)
      case 'real':
        return random.float() * 10 ** random.int(-3, 12)
      case 'bool':
        return random.chance(0.5)
      case 'oneOf':
        return random.pick(form.values)
      case 'list':
        return Array.from({ length: this.#count(form.countMax) }, () =>
          this.#value(form.item, name, extremes),
        )
      case 'tuple':
        return this.#tuple(form.items, name, extremes)
      case 'optional':
        return random.chance(0.3) ? undefined : this.#value(form.present, name, extremes)
      case 'record':
        return this.#record(form.fields, extremes)
    }
  }

  #record(fields: Readonly<Record<string, ShapeForm>>, extremes: number): Record<string, unknown> {
    const record: Record<string, unknown> = {}
    for (const [name, form] of Object.entries(fields)) {
      if (extremes > 0 && this.#random.chance(extremes / 2)) continue
      const value = this.#value(form, name, extremes)
      if (value !== undefined) record[name] = value
    }
    if (extremes > 0 && this.#random.chance(0.1)) this.#addForeign(record)
    return record
  }

  /** Keys that no shape names. Defined, not assigned: the attack sends "__proto__" over the wire like any other. */
  #addForeign(record: Record<string, unknown>): void {
    const name = this.#random.pick(['__proto__', 'constructor', 'length', 'later', '', 'k'.repeat(300)])
    const value = extremeValue(this.#random)
    Object.defineProperty(record, name, { value, enumerable: true, configurable: true, writable: true })
  }

  /** Entries begin with a topic's id and a partition in every command that has them. */
  #tuple(items: readonly ShapeForm[], name: string, extremes: number): unknown[] {
    const values = items.map((item) => this.#value(item, name, extremes))
    const [first, second] = items
    if (first?.kind === 'integer' && second?.kind === 'integer' && this.#random.chance(0.7)) {
      values[0] = this.#random.pick(this.#known.topicIds)
      values[1] = this.#random.int(0, this.#known.partitionsMax)
    }
    return values
  }

  #text(name: string, bytesMax: number): string {
    const random = this.#random
    const { topics, groups } = this.#known
    if (random.chance(0.7)) {
      if (/topic/i.test(name)) return random.pick(topics)
      if (/group/i.test(name)) return random.pick(groups)
      if (/member|instance/i.test(name)) return `member-${random.int(0, 20)}`
    }
    const odd = random.pick(oddTexts)
    return Buffer.byteLength(odd) <= bytesMax ? odd : 'a'.repeat(random.int(0, Math.min(bytesMax, 2_000)))
  }

  #integer(name: string, min: number, max: number): number {
    const random = this.#random
    // Endless long polls would leave a connection no room for further requests.
    if (name === 'waitMs' && random.chance(0.98)) return random.int(0, 3)
    if (name === 'partitions' && random.chance(0.9)) return clamp(random.int(0, 4), min, max)
    if (random.chance(0.4)) return clamp(random.int(0, 10), min, max)
    if (random.chance(0.5)) return clamp(random.int(0, 100_000), min, max)
    const boundary = random.pick([min, max, min + 1, max - 1, ...boundaries])
    return Number.isSafeInteger(boundary) ? clamp(boundary, min, max) : max
  }

  #count(countMax: number): number {
    const random = this.#random
    if (random.chance(0.97)) return random.int(0, Math.min(countMax, 4))
    return random.int(0, Math.min(countMax, random.chance(0.1) ? 25_000 : 300))
  }
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(Math.max(value, min), max)
}
