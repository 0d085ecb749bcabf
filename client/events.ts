import { isMillraceError, MillraceError, suggestion } from '../protocol/index.js'
import { type Address, formatAddress } from './address.js'
import { undisturbed, Warnings } from './warnings.js'

/** The client has a connection to a broker again. */
export interface ConnectedEvent {
  /** `host:port` */
  readonly address: string
  /** Number of the attempt that succeeded, from 1; 0 if the client did not have to retry. */
  readonly attempt: number
}

/** The client has lost its connection to the broker, or cannot open one that it needs. */
export interface DisconnectedEvent {
  /** `host:port` */
  readonly address: string
  /** The reason: CONNECTION_LOST, NOT_CONNECTED and others. */
  readonly error: MillraceError
}

/** The client will try to connect. */
export interface ReconnectingEvent {
  /** `host:port` of the first address that the client will try. */
  readonly address: string
  /** Number of this attempt since the loss of the connection, from 1. */
  readonly attempt: number
  /** Delay before the attempt, in ms. */
  readonly delayMs: number
  /** Why the last attempt failed, or why the connection was lost. */
  readonly error: MillraceError
}

/** The events of a client, by name. */
export interface ClientEvents {
  readonly connected: ConnectedEvent
  readonly disconnected: DisconnectedEvent
  readonly reconnecting: ReconnectingEvent
}

export type ClientListener<Name extends keyof ClientEvents> = (event: ClientEvents[Name]) => void

type AnyListener = (event: ClientEvents[keyof ClientEvents]) => void

const names: { readonly [Name in keyof ClientEvents]: true } = {
  connected: true,
  disconnected: true,
  reconnecting: true,
}

/** The listeners of a client. An error of a listener is an uncaught exception. */
export class ClientEmitter {
  readonly #listeners = new Map<keyof ClientEvents, { listener: AnyListener; isOnce: boolean }[]>()

  /** @throws MillraceError BAD_OPTION for an unknown event */
  add<Name extends keyof ClientEvents>(name: Name, listener: ClientListener<Name>, isOnce: boolean): void {
    if (!Object.hasOwn(names, name)) {
      const known = Object.keys(names)
      const hint = suggestion(String(name), known) || `; its events are ${known.join(', ')}`
      throw new MillraceError('BAD_OPTION', `a client has no event "${String(name)}"${hint}`)
    }
    this.#listeners.set(name, [...this.#of(name), { listener: listener as AnyListener, isOnce }])
  }

  remove<Name extends keyof ClientEvents>(name: Name, listener: ClientListener<Name>): void {
    const kept = this.#of(name).filter((one) => one.listener !== listener)
    this.#listeners.set(name, kept)
  }

  has(name: keyof ClientEvents): boolean {
    return this.#of(name).length > 0
  }

  emit<Name extends keyof ClientEvents>(name: Name, event: ClientEvents[Name]): void {
    for (const { listener, isOnce } of this.#of(name)) {
      if (isOnce) this.remove(name, listener)
      undisturbed(listener)(event)
    }
  }

  #of(name: keyof ClientEvents): readonly { listener: AnyListener; isOnce: boolean }[] {
    return this.#listeners.get(name) ?? []
  }
}

/** Receives the events of links. */
export interface LinkWatcher {
  opened(link: object, address: Address): void
  lost(link: object, address: Address, error: MillraceError): void
  /** The link will try to connect after `delayMs`, because it was lost or because its last attempt failed. */
  retries(link: object, address: Address, delayMs: number, error: unknown, isFailure: boolean): void
  /** Nothing needs the link any more: it stops trying. */
  gaveUp(link: object): void
}

/**
 * Combines the events of a client's connections; a client has several to one broker. The client is disconnected when it
 * has no connection, or when it cannot open one that it needs. The attempts of one link stand for those of all links.
 */
export class ConnectionStory implements LinkWatcher {
  readonly #emitter: ClientEmitter
  readonly #warnings: Warnings
  readonly #live = new Set<object>()
  #state: 'new' | 'connected' | 'disconnected' | 'closed' = 'new'
  #attempt = 0
  /** The link whose attempts are reported. */
  #speaker: object | undefined

  constructor(emitter: ClientEmitter, clientName: string) {
    this.#emitter = emitter
    this.#warnings = new Warnings(
      `the client "${clientName}"`,
      'listen to the events "disconnected", "reconnecting" and "connected" of the client to receive all of them',
    )
  }

  get isConnected(): boolean {
    return this.#state === 'connected'
  }

  opened(link: object, address: Address): void {
    this.#live.add(link)
    if (this.#state === 'connected' || this.#state === 'closed') return
    const attempt = this.#attempt
    this.#state = 'connected'
    this.#attempt = 0
    this.#speaker = undefined
    this.#emitter.emit('connected', { address: formatAddress(address), attempt })
  }

  lost(link: object, address: Address, error: MillraceError): void {
    this.#live.delete(link)
    if (this.#live.size === 0 && this.#state === 'connected') this.#disconnected(address, error)
  }

  retries(link: object, address: Address, delayMs: number, cause: unknown, isFailure: boolean): void {
    const error = isMillraceError(cause)
      ? cause
      : new MillraceError('NOT_CONNECTED', String(cause), { cause })
    if (this.#state === 'connected' && isFailure) this.#disconnected(address, error)
    if (this.#state !== 'disconnected') return
    this.#speaker ??= link
    if (this.#speaker !== link) return
    this.#attempt++
    this.#emitter.emit('reconnecting', {
      address: formatAddress(address),
      attempt: this.#attempt,
      delayMs,
      error,
    })
  }

  gaveUp(link: object): void {
    if (this.#speaker === link) this.#speaker = undefined
  }

  /** The client is closed: no more events. */
  close(): void {
    this.#state = 'closed'
  }

  #disconnected(address: Address, error: MillraceError): void {
    this.#state = 'disconnected'
    const isHeard = this.#emitter.has('disconnected') || this.#emitter.has('reconnecting')
    if (!isHeard) this.#warnings.warn(error, ' reconnects when it needs the broker')
    this.#emitter.emit('disconnected', { address: formatAddress(address), error })
  }
}
