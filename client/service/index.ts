export { Requests } from './requests.js'
export { responder, type ServiceHandler } from './respond.js'
export { defineService, type Service } from './service.js'
