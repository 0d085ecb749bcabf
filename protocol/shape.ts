import { limitText } from './amount_text.js'
import { MillraceError } from './errors.js'

/**
 * Checks that a decoded msgpack value has the shape that a command expects, and returns a typed copy. It drops unknown
 * fields, so newer peers may send more. A mismatch throws BAD_REQUEST with the path of the field.
 */
export interface Shape<T> {
  /** The accepted values as data, for code that lists the fields of a command or generates values. */
  readonly form: ShapeForm
  read(value: unknown, path: string): T
}

/** The accepted values; both limits of numbers are inclusive. */
export type ShapeForm =
  | { readonly kind: 'text'; readonly bytesMax: number }
  | { readonly kind: 'integer'; readonly min: number; readonly max: number }
  | { readonly kind: 'real' | 'bool' }
  | { readonly kind: 'oneOf'; readonly values: readonly string[] }
  | { readonly kind: 'list'; readonly item: ShapeForm; readonly countMax: number }
  | { readonly kind: 'tuple'; readonly items: readonly ShapeForm[] }
  | { readonly kind: 'optional'; readonly present: ShapeForm }
  | { readonly kind: 'record'; readonly fields: Readonly<Record<string, ShapeForm>> }

interface OptionalShape<T> extends Shape<T | undefined> {
  readonly optional: true
}

/** The type that a shape accepts. */
export type Infer<S> = S extends Shape<infer T> ? T : never

type Fields = Record<string, Shape<unknown>>
type RequiredKeys<F extends Fields> = { [K in keyof F]: F[K] extends { optional: true } ? never : K }[keyof F]
type ObjectOf<F extends Fields> = { readonly [K in RequiredKeys<F>]: Infer<F[K]> } & {
  readonly [K in Exclude<keyof F, RequiredKeys<F>>]?: Infer<F[K]> | undefined
}

function mismatch(path: string, expected: string, value: unknown): MillraceError {
  const shown =
    value === undefined || value === null
      ? 'nothing'
      : typeof value === 'string'
        ? `the string ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`
        : typeof value === 'number' || typeof value === 'boolean'
          ? String(value)
          : Array.isArray(value)
            ? 'an array'
            : value instanceof Uint8Array
              ? 'bytes'
              : 'a map'
  return new MillraceError('BAD_REQUEST', `${path}: expected ${expected}, got ${shown}`)
}

/** A string of at most `bytesMax` UTF-8 bytes. */
export function text(bytesMax: number): Shape<string> {
  const expected = `a string of at most ${bytesMax} bytes`
  return {
    form: { kind: 'text', bytesMax },
    read(value, path) {
      if (typeof value !== 'string' || value.length > bytesMax) throw mismatch(path, expected, value)
      if (value.length * 3 > bytesMax && Buffer.byteLength(value) > bytesMax)
        throw mismatch(path, expected, value)
      return value
    },
  }
}

/** A whole number from `min` to `max`; both default to the limits of a safe integer. */
export function integer(min = 0, max: number = Number.MAX_SAFE_INTEGER): Shape<number> {
  return {
    form: { kind: 'integer', min, max },
    read(value, path) {
      if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
        const upTo = max === Number.MAX_SAFE_INTEGER ? '' : ` to ${limitText(path, max)}`
        throw mismatch(path, `a whole number from ${limitText(path, min)}${upTo}`, value)
      }
      return value
    },
  }
}

/** A finite number, for measurements only. */
export const real: Shape<number> = {
  form: { kind: 'real' },
  read(value, path) {
    if (typeof value !== 'number' || !Number.isFinite(value)) throw mismatch(path, 'a number', value)
    return value
  },
}

export const bool: Shape<boolean> = {
  form: { kind: 'bool' },
  read(value, path) {
    if (typeof value !== 'boolean') throw mismatch(path, 'true or false', value)
    return value
  },
}

/** One of these strings. */
export function oneOf<const T extends readonly string[]>(...values: T): Shape<T[number]> {
  return {
    form: { kind: 'oneOf', values },
    read(value, path) {
      if (!values.includes(value as string)) throw mismatch(path, `one of ${values.join(', ')}`, value)
      return value as T[number]
    },
  }
}

/** An array of at most `countMax` items of one shape. */
export function list<T>(item: Shape<T>, countMax: number): Shape<readonly T[]> {
  return {
    form: { kind: 'list', item: item.form, countMax },
    read(value, path) {
      if (!Array.isArray(value) || value.length > countMax) {
        throw mismatch(path, `an array of at most ${countMax} items`, value)
      }
      const items = new Array<T>(value.length)
      for (let i = 0; i < value.length; i++) items[i] = item.read(value[i], `${path}[${i}]`)
      return items
    },
  }
}

/** An array with one item for each shape, in order; it ignores further items, so tuples can grow. */
export function tuple<const T extends readonly Shape<unknown>[]>(
  ...shapes: T
): Shape<{ readonly [K in keyof T]: Infer<T[K]> }> {
  return {
    form: { kind: 'tuple', items: shapes.map((shape) => shape.form) },
    read(value, path) {
      if (!Array.isArray(value)) throw mismatch(path, `an array of ${shapes.length} items`, value)
      const items = new Array<unknown>(shapes.length)
      for (let i = 0; i < shapes.length; i++)
        items[i] = (shapes[i] as Shape<unknown>).read(value[i], `${path}[${i}]`)
      return items as { readonly [K in keyof T]: Infer<T[K]> }
    },
  }
}

/** A field that may be absent or nil. */
export function optional<T>(shape: Shape<T>): OptionalShape<T> {
  return {
    optional: true,
    form: { kind: 'optional', present: shape.form },
    read: (value, path) => (value === undefined || value === null ? undefined : shape.read(value, path)),
  }
}

/** A map with these string keys. */
export function record<const F extends Fields>(fields: F): Shape<ObjectOf<F>> {
  const entries = Object.entries(fields)
  return {
    form: {
      kind: 'record',
      fields: Object.fromEntries(entries.map(([name, shape]) => [name, shape.form])),
    },
    read(value, path) {
      if (
        typeof value !== 'object' ||
        value === null ||
        Array.isArray(value) ||
        value instanceof Uint8Array
      ) {
        throw mismatch(path, 'a map', value)
      }
      const source = value as Record<string, unknown>
      const result: Record<string, unknown> = {}
      for (const [name, shape] of entries) {
        const read = shape.read(source[name], path === '' ? name : `${path}.${name}`)
        if (read !== undefined) result[name] = read
      }
      return result as ObjectOf<F>
    },
  }
}
