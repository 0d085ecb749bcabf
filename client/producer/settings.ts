import { type Compression, compressions, loadCodec, MillraceError } from '../../protocol/index.js'
import { checkOptions, type OptionNames, wholeOption } from '../options.js'

/** The settings of a client's producer; all optional. */
export interface ProducerOptions {
  /** A batch is full at this many bytes. Default 256 KiB. */
  readonly batchBytes?: number | undefined
  /**
   * How long a partly filled batch waits for more messages, although it could be sent. Default 0: messages gather by
   * themselves while requests are on the wire.
   */
  readonly lingerMs?: number | undefined
  /** Publish requests on the wire at the same time. Default 5. */
  readonly requestsInFlightMax?: number | undefined
  /** Memory limit of unacknowledged messages. Default 64 MiB. */
  readonly bufferBytesMax?: number | undefined
  /**
   * What `publish` does if the buffer is full: wait (default), or fail with BUFFER_FULL; `publishMany` always waits.
   */
  readonly onFull?: 'wait' | 'error' | undefined
  /** A message that is still unacknowledged after this time fails with DELIVERY_TIMEOUT. Default 120,000. */
  readonly deliveryTimeoutMs?: number | undefined
  /** Codec of the batches. Default "none". */
  readonly compression?: Compression | undefined
}

export type ProducerSettings = { readonly [K in keyof ProducerOptions]-?: NonNullable<ProducerOptions[K]> }

const optionNames: OptionNames<ProducerOptions> = {
  batchBytes: true,
  lingerMs: true,
  requestsInFlightMax: true,
  bufferBytesMax: true,
  onFull: true,
  deliveryTimeoutMs: true,
  compression: true,
}

const kib = 1024
const mib = 1024 * kib

/** Checks the options and fills in the defaults. @throws MillraceError BAD_OPTION, CODEC_MISSING */
export function producerSettings(options: ProducerOptions = {}): ProducerSettings {
  checkOptions('connect', options, optionNames, 'producer.')
  const { onFull = 'wait', compression = 'none' } = options
  if (onFull !== 'wait' && onFull !== 'error') throw bad('onFull', onFull, '"wait" or "error"')
  if (!compressions.includes(compression))
    throw bad('compression', compression, `one of ${compressions.join(', ')}`)
  loadCodec(compression)
  return {
    batchBytes: wholeOption('batchBytes', options.batchBytes ?? 256 * kib, 1, 4 * mib),
    lingerMs: wholeOption('lingerMs', options.lingerMs ?? 0, 0, 60_000),
    requestsInFlightMax: wholeOption('requestsInFlightMax', options.requestsInFlightMax ?? 5, 1, 5),
    bufferBytesMax: wholeOption('bufferBytesMax', options.bufferBytesMax ?? 64 * mib, 64 * kib),
    onFull,
    deliveryTimeoutMs: wholeOption('deliveryTimeoutMs', options.deliveryTimeoutMs ?? 120_000, 1),
    compression,
  }
}

function bad(name: string, value: unknown, expected: string): MillraceError {
  return new MillraceError(
    'BAD_OPTION',
    `the option "${name}" is ${JSON.stringify(value)}, expected ${expected}`,
  )
}
