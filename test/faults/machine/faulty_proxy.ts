import { connect, createServer, type Server, type Socket } from 'node:net'
import type { TestContext } from '../../helpers/context.js'
import { Random } from '../../helpers/random.js'
import { FaultyPipe, healthy, type PipeMode } from './faulty_pipe.js'

/** `requests` go to the broker, `replies` come from it. */
export type Direction = 'requests' | 'replies'

interface Link {
  readonly client: Socket
  readonly upstream: Socket
  readonly pipes: Readonly<Record<Direction, FaultyPipe>>
}

const directions: readonly Direction[] = ['requests', 'replies']

/**
 * A relay in front of a broker with the faults of networks: a long way (delay), a thin line (rate), a
 * firewall that forgets (freeze, swallow), a crash of a machine on the way (cut). A setting holds for open and for
 * later
 * connections, until `heal`. Each direction of a connection holds at most 256 KiB.
 *
 * Limits: it acts on streams, not packets, and it accepts a connection before it connects to the broker. It listens on
 * 127.0.0.1 only.
 */
export class FaultyProxy {
  readonly port: number
  /** Bytes that were relayed so far, by direction. */
  readonly relayedBytes: Record<Direction, number> = { requests: 0, replies: 0 }
  readonly #server: Server
  readonly #links = new Set<Link>()
  readonly #targetPort: () => number
  readonly #rng: Random
  readonly #modes: Record<Direction, PipeMode> = { requests: healthy, replies: healthy }
  readonly #cutAfterBytes: Record<Direction, number | undefined> = { requests: undefined, replies: undefined }
  #refusing = false

  private constructor(server: Server, targetPort: () => number, rng: Random) {
    this.#server = server
    this.#targetPort = targetPort
    this.#rng = rng
    const address = server.address()
    this.port = typeof address === 'object' && address !== null ? address.port : 0
    server.on('connection', (socket) => this.#relay(socket))
  }

  /**
   * @param targetPort called for every connection, so that the target may be restarted
   * @param rng for jitter
   */
  static async start(
    context: TestContext,
    targetPort: () => number,
    rng: Random = new Random(0),
  ): Promise<FaultyProxy> {
    const server = createServer({ allowHalfOpen: true })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const proxy = new FaultyProxy(server, targetPort, rng)
    context.defer(() => proxy.close())
    return proxy
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#links.size
  }

  /**
   * Changes the treatment of a direction (default both); absent fields stay. `swallow` of replies
   * alone drops replies to executed requests; of both it is a black hole.
   */
  set(mode: Partial<PipeMode>, direction?: Direction): void {
    for (const one of direction === undefined ? directions : [direction]) {
      this.#modes[one] = { ...this.#modes[one], ...mode }
      for (const { pipes } of this.#links) pipes[one].pump()
    }
  }

  /**
   * Ends all faults. Resets connections with swallowed bytes: no network delivers a stream with a gap.
   * Frozen ones continue with their held data.
   */
  heal(): void {
    this.#refusing = false
    for (const direction of directions) this.#cutAfterBytes[direction] = undefined
    for (const link of this.#links) {
      if (directions.some((direction) => link.pipes[direction].hasHole)) this.#cutLink(link, 'rst')
    }
    this.set(healthy)
  }

  /** Stops relaying, but keeps the connections open: a machine that hangs. */
  freeze(): void {
    this.set({ frozen: true })
  }

  thaw(): void {
    this.set({ frozen: false })
  }

  /** Ends all connections at once, without held data: with FIN, or with a reset. */
  cut(how: 'fin' | 'rst' = 'fin'): void {
    for (const link of this.#links) this.#cutLink(link, how)
  }

  /**
   * Cuts the connection that carries the next bytes in a direction after this many of them: in the middle of a frame.
   */
  cutAfter(direction: Direction, lengthBytes: number): void {
    this.#cutAfterBytes[direction] = lengthBytes
  }

  /** Ends one direction of all connections properly (FIN), while the other continues. */
  halfClose(direction: Direction): void {
    for (const { pipes } of this.#links) pipes[direction].end()
  }

  /** Ends all connections, and every new one right after its accept, until `accept` or `heal`. */
  refuse(): void {
    this.#refusing = true
    this.cut()
  }

  accept(): void {
    this.#refusing = false
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #relay(client: Socket): void {
    if (this.#refusing) {
      client.destroy()
      return
    }
    const upstream = connect({ port: this.#targetPort(), host: '127.0.0.1', allowHalfOpen: true })
    const pipe = (direction: Direction, from: Socket, to: Socket): FaultyPipe =>
      new FaultyPipe(from, to, {
        mode: () => this.#modes[direction],
        takeCut: (lengthBytes) => this.#takeCut(direction, lengthBytes),
        passed: (lengthBytes) => {
          this.relayedBytes[direction] += lengthBytes
        },
        rng: this.#rng,
      })
    const pipes = {
      requests: pipe('requests', client, upstream),
      replies: pipe('replies', upstream, client),
    }
    const link = { client, upstream, pipes }
    this.#links.add(link)
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.on('close', (hadError) => {
        // Both directions were ended properly on this side; the other may still get held data.
        if (hadError) this.#cutLink(link, 'rst')
        else if (client.destroyed && upstream.destroyed) this.#links.delete(link)
      })
    }
  }

  #cutLink(link: Link, how: 'fin' | 'rst'): void {
    this.#links.delete(link)
    for (const direction of directions) link.pipes[direction].close()
    for (const socket of [link.client, link.upstream]) {
      if (how === 'fin') socket.destroy()
      else socket.resetAndDestroy()
    }
  }

  #takeCut(direction: Direction, lengthBytes: number): number | undefined {
    const left = this.#cutAfterBytes[direction]
    if (left === undefined) return undefined
    const isHere = left <= lengthBytes
    this.#cutAfterBytes[direction] = isHere ? undefined : left - lengthBytes
    return isHere ? left : undefined
  }
}
