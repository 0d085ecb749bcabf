/** A promise and the functions that settle it. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  readonly resolve: (value: T) => void
  readonly reject: (error: unknown) => void
}

/** Creates one; its rejection is never reported as unhandled. */
export function deferred<T>(): Deferred<T> {
  let resolve: (value: T) => void = noop
  let reject: (error: unknown) => void = noop
  const promise = new Promise<T>((fulfil, fail) => {
    resolve = fulfil
    reject = fail
  })
  promise.catch(noop)
  return { promise, resolve, reject }
}

function noop(): void {}
