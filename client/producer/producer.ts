import {
  commands,
  errorOf,
  errorTable,
  isMillraceError,
  MillraceError,
  type RecordInput,
  type ReplyOf,
  recordBytesBound,
} from '../../protocol/index.js'
import { type BackoffOptions, backoffMs, pause } from '../backoff.js'
import type { Cluster, TopicInfo } from '../cluster.js'
import type { BatchWatcher, Receipt } from './batch.js'
import { PartitionQueue, type SentBatch } from './partition_queue.js'
import type { ProducerSettings } from './settings.js'

type PublishResult = ReplyOf<typeof commands.publish>['results'][number]

/** Bytes of batches in one request, at most, if it is more than one batch. */
const requestBytesMax = 4 * 1024 * 1024
/** A batch that is not full is sent while fewer requests than this are on the wire: more would only make it smaller. */
const eagerRequestsMax = 2
const expiryIntervalMs = 250

interface Space {
  readonly bytes: number
  resolve(): void
  reject(error: unknown): void
}

/**
 * Gathers messages into batches, sends them, and sends them again until they are acknowledged: each exactly once, in
 * order within its partition. One for each client.
 */
export class Producer {
  readonly settings: ProducerSettings
  readonly #cluster: Cluster
  readonly #reconnect: BackoffOptions
  readonly #queues = new Map<number, (PartitionQueue | undefined)[]>()
  /** Queues with something to send. */
  readonly #ready = new Set<PartitionQueue>()
  readonly #closing = new AbortController()
  #spaces: Space[] = []
  #bufferedBytes = 0
  #requestsInFlight = 0
  #failures = 0
  #pumpPlanned = false
  #lingerTimer: NodeJS.Timeout | undefined
  #expiryTimer: NodeJS.Timeout | undefined
  #producerId: number | undefined
  #identifying = false
  #paused = false
  #lingered = false

  constructor(cluster: Cluster, settings: ProducerSettings, reconnect: BackoffOptions) {
    this.#cluster = cluster
    this.settings = settings
    this.#reconnect = reconnect
  }

  /** Bytes of messages that are not acknowledged. */
  get bufferedBytes(): number {
    return this.#bufferedBytes
  }

  /**
   * Waits until the buffer has room for more; undefined when it has.
   * @throws MillraceError BUFFER_FULL where the settings say so, CLOSED
   */
  space(bytes: number): Promise<void> | undefined {
    this.#checkOpen()
    const { bufferBytesMax, onFull } = this.settings
    if (!this.isFullFor(bytes)) return undefined
    if (onFull === 'error') {
      throw new MillraceError(
        'BUFFER_FULL',
        `${this.#bufferedBytes} bytes are not acknowledged yet, at most ${bufferBytesMax} are kept`,
      )
    }
    return new Promise((resolve, reject) => this.#spaces.push({ bytes, resolve, reject }))
  }

  /** Adds a message; there has to be space. */
  publish(topic: TopicInfo, partition: number, record: RecordInput): Promise<Receipt> {
    this.#checkOpen()
    const queue = this.#queue(topic, partition)
    const batch = queue.open(boundOf(record))
    return new Promise((resolve, reject) => {
      this.#added(queue, batch.add(record, resolve, reject))
    })
  }

  /** Adds a message of a bulk publish; there has to be space. Returns its bytes. */
  add(topic: TopicInfo, partition: number, record: RecordInput, watcher: BatchWatcher): number {
    this.#checkOpen()
    const queue = this.#queue(topic, partition)
    const bytes = queue.open(boundOf(record)).addWatched(record, watcher)
    this.#added(queue, bytes)
    return bytes
  }

  /** Whether a message of `bytes` has to wait for space. */
  isFullFor(bytes: number): boolean {
    if (this.#spaces.length > 0) return true
    return this.#bufferedBytes > 0 && this.#bufferedBytes + bytes > this.settings.bufferBytesMax
  }

  /** Whether the next message of the partition would be the first of a batch. */
  startsBatch(topic: TopicInfo, partition: number): boolean {
    return this.#queue(topic, partition).startsBatch
  }

  /** Resolves when everything that was published before is acknowledged or has failed. */
  async flush(): Promise<void> {
    const ended: Promise<void>[] = []
    for (const queues of this.#queues.values()) {
      for (const queue of queues) {
        const newest = queue?.newest
        if (newest !== undefined)
          ended.push(new Promise((resolve) => newest.watch({ batchDone: () => resolve() })))
      }
    }
    await Promise.all(ended)
  }

  /** Ends it; what is not acknowledged fails with CLOSED. */
  close(): void {
    if (this.#closing.signal.aborted) return
    const error = new MillraceError(
      'CLOSED',
      'the client was closed before the message was acknowledged; the outcome is unknown',
    )
    this.#closing.abort(error)
    clearTimeout(this.#lingerTimer)
    clearInterval(this.#expiryTimer)
    for (const queues of this.#queues.values()) for (const queue of queues) queue?.failAll(error)
    this.#queues.clear()
    this.#ready.clear()
    for (const space of this.#spaces.splice(0)) space.reject(error)
    this.#freed(this.#bufferedBytes)
  }

  #checkOpen(): void {
    if (this.#closing.signal.aborted) throw new MillraceError('CLOSED', 'the client is closed')
  }

  #queue(topic: TopicInfo, partition: number): PartitionQueue {
    let queues = this.#queues.get(topic.topicId)
    if (queues === undefined) {
      queues = []
      this.#queues.set(topic.topicId, queues)
    }
    let queue = queues[partition]
    if (queue === undefined) {
      const { batchBytes, deliveryTimeoutMs, compression, requestsInFlightMax } = this.settings
      queue = new PartitionQueue({
        topic: topic.name,
        topicId: topic.topicId,
        partition,
        batchBytes,
        batchesInFlightMax: requestsInFlightMax,
        deliveryTimeoutMs,
        compression,
      })
      queues[partition] = queue
    }
    return queue
  }

  #added(queue: PartitionQueue, bytes: number): void {
    this.#bufferedBytes += bytes
    this.#ready.add(queue)
    this.#expiryTimer ??= setInterval(() => this.#expire(), expiryIntervalMs)
    this.#planPump()
  }

  /** At the end of this turn of the event loop, so that what is published in one turn leaves together. */
  #planPump(): void {
    if (this.#pumpPlanned) return
    this.#pumpPlanned = true
    setImmediate(() => {
      this.#pumpPlanned = false
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#paused || this.#closing.signal.aborted || this.#ready.size === 0) return
    if (this.#producerId === undefined) {
      void this.#identify()
      return
    }
    while (this.#requestsInFlight < this.settings.requestsInFlightMax) {
      const sent = this.#takeBatches(this.#producerId)
      if (sent.length === 0) return
      void this.#send(sent)
    }
  }

  /** Batches for one request: full ones, and others while few requests are on the wire. */
  #takeBatches(producerId: number): SentBatch[] {
    const eager = this.#requestsInFlight < eagerRequestsMax && !this.#lingers()
    const taken: SentBatch[] = []
    let bytes = 0
    let owner: number | undefined
    for (const queue of this.#ready) {
      owner ??= this.#ownerOf(queue)
      if (this.#ownerOf(queue) !== owner) continue
      while (queue.ready(!eager)) {
        const sent = queue.take(producerId)
        taken.push(sent)
        bytes += sent.bytes.length
        if (bytes >= requestBytesMax) return taken
      }
      if (queue.isDrained) this.#ready.delete(queue)
    }
    return taken
  }

  #ownerOf({ options: { topic, partition } }: PartitionQueue): number {
    return this.#cluster.ownerOf(topic, partition)
  }

  #lingers(): boolean {
    if (this.settings.lingerMs === 0) return false
    if (this.#lingerTimer === undefined) {
      this.#lingerTimer = setTimeout(() => {
        this.#lingerTimer = undefined
        this.#lingered = true
        this.#pump()
        this.#lingered = false
      }, this.settings.lingerMs)
    }
    return !this.#lingered
  }

  async #identify(): Promise<void> {
    if (this.#identifying) return
    this.#identifying = true
    for (let failures = 1; !this.#closing.signal.aborted; failures++) {
      try {
        const reply = await this.#cluster.call(
          commands.producerInit,
          {},
          { repeatable: true, signal: this.#closing.signal },
        )
        this.#producerId = reply.producerId
        this.#pump()
        break
      } catch (error) {
        if (isMillraceError(error) && !error.retryable) {
          this.#failReady(error)
          break
        }
        await pause(backoffMs(failures, this.#reconnect), this.#closing.signal)
      }
    }
    this.#identifying = false
  }

  async #send(sent: readonly SentBatch[]): Promise<void> {
    this.#requestsInFlight++
    try {
      const body = {
        batches: sent.map(
          ({ queue, bytes }) => [queue.options.topicId, queue.options.partition, bytes.length] as const,
        ),
      }
      const payload = sent.map(({ bytes }) => bytes)
      const owner = this.#ownerOf((sent[0] as SentBatch).queue)
      const reply = await this.#cluster.toOwner(owner, 'publish', commands.publish, body, { payload })
      this.#requestsInFlight--
      this.#failures = 0
      this.#takeResults(sent, reply.body.results)
    } catch (error) {
      this.#requestsInFlight--
      this.#requestFailed(sent, error)
    }
    this.#pump()
  }

  #takeResults(sent: readonly SentBatch[], results: readonly PublishResult[]): void {
    let retries = 0
    for (const [index, one] of sent.entries()) {
      const result = results[index] ?? {
        error: errorTable.INTERNAL.number,
        message: 'the broker gave no result',
      }
      if (result.error === 0) {
        this.#done(one)
        one.queue.succeeded(one.batch, result.baseOffset)
      } else if (this.#refused(one, errorOf(result))) {
        retries++
      }
    }
    if (retries > 0) this.#backOff()
  }

  /** Returns whether the batch will be sent again. */
  #refused(sent: SentBatch, error: MillraceError): boolean {
    const { queue, batch } = sent
    if (error.code === 'NOT_OWNER' || error.code === 'UNKNOWN_TOPIC')
      this.#cluster.forget(queue.options.topic)
    if (error.code === 'OUT_OF_ORDER_SEQUENCE' && queue.isOldest(batch)) queue.startEpoch()
    if (!error.retryable || batch.deadlineMs <= performance.now()) {
      this.#done(sent)
      queue.gaveUp(batch, error.retryable ? deliveryTimeout(queue, error) : error)
      return false
    }
    queue.retry(batch)
    this.#ready.add(queue)
    return true
  }

  #requestFailed(sent: readonly SentBatch[], error: unknown): void {
    const known = isMillraceError(error)
      ? error
      : new MillraceError('INTERNAL', `publishing failed: ${String(error)}`, { cause: error })
    if (this.#closing.signal.aborted) return
    let retries = 0
    for (const one of sent) if (this.#refused(one, known)) retries++
    if (retries > 0) this.#backOff()
  }

  #done({ batch, queue }: SentBatch): void {
    this.#freed(batch.messageBytes)
    if (!queue.isEmpty) this.#ready.add(queue)
  }

  #backOff(): void {
    if (this.#paused) return
    this.#paused = true
    this.#failures++
    void pause(backoffMs(this.#failures, this.#reconnect), this.#closing.signal).then(() => {
      this.#paused = false
      this.#pump()
    })
  }

  #freed(bytes: number): void {
    this.#bufferedBytes -= bytes
    if (this.#bufferedBytes === 0) {
      clearInterval(this.#expiryTimer)
      this.#expiryTimer = undefined
    }
    let room = this.settings.bufferBytesMax - this.#bufferedBytes
    while (this.#spaces[0] !== undefined && (this.#spaces[0].bytes <= room || this.#bufferedBytes === 0)) {
      const space = this.#spaces.shift() as Space
      room -= space.bytes
      space.resolve()
      if (room < 0) return
    }
  }

  #expire(): void {
    const nowMs = performance.now()
    for (const queues of this.#queues.values()) {
      for (const queue of queues) {
        if (queue === undefined) continue
        const bytes = queue.expire(nowMs, () => deliveryTimeout(queue))
        if (bytes > 0) this.#freed(bytes)
      }
    }
  }

  #failReady(error: MillraceError): void {
    for (const queue of this.#ready) queue.failAll(error)
    this.#ready.clear()
    this.#freed(this.#bufferedBytes)
  }
}

function boundOf({ key, value, headers }: RecordInput): number {
  let headerBytes = 0
  if (headers !== undefined) {
    for (const name in headers) headerBytes += name.length * 3 + (headers[name]?.length ?? 0) * 3 + 16
  }
  return recordBytesBound(key?.length ?? 0, value?.length ?? 0, headerBytes)
}

function deliveryTimeout(queue: PartitionQueue, cause?: MillraceError): MillraceError {
  const { topic, partition, deliveryTimeoutMs } = queue.options
  const reason = cause === undefined ? '' : `: ${cause.message}`
  return new MillraceError(
    'DELIVERY_TIMEOUT',
    `messages for topic "${topic}", partition ${partition} were not acknowledged within ${deliveryTimeoutMs} ms; the outcome is unknown${reason}`,
    { cause },
  )
}
